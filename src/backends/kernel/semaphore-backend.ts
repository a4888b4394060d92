/**
 * The permits of a semaphore: byte-range locks on one file.
 *
 *     bytes 0 … permits-1        one permit each, locked exclusively by its holder
 *     byte 1000 + permits        locked shared by holders and waiters: tells how many permits they assume
 *
 * Every process first locks its own number and then looks for others: of two that disagree at least one sees the other
 * and refuses. Every holder and every wait has an open file of its own, and closing it releases all of that.
 */
import type { Backend, Capabilities, Grant, Inspection, PendingAcquire, SyncWaitable } from '../../core/backend.js';
import { LockLostError, LockMismatchError, LockUnsupportedError } from '../../errors.js';
import { MOST_PERMITS, PERMIT_NUMBERS } from '../../files/byte-layout.js';
import { isCurrent, type LockFileOptions, MAX_REPLACED, openLockFile, openToLook } from '../../files/lock-file.js';
import type { LockPlace } from '../../files/lock-place.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import { coversAny, locksUnlessOpened } from '../../inspect/lock-list.js';
import { inspection } from '../../inspect/looking.js';
import { semaphoreParties } from '../../inspect/proc-locks.js';
import { CONTENDED, GRANTED, type LockAddon, REPLACED } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import { KERNEL_TURN, type Turn } from '../order/turn.js';
import type { PathState } from '../path-state.js';
import { pollSync } from '../poll.js';
import { PendingPermit, type PermitSource } from './pending-permit.js';
import { explained } from './refused.js';

export class SemaphoreBackend implements Backend, SyncWaitable, PermitSource {
  readonly name = 'fcntl';

  constructor(
    readonly file: LockFileOptions,
    readonly permits: number,
    private readonly addon: LockAddon,
    private readonly state: PathState,
    private readonly order: ProcessOrder,
    private readonly place: LockPlace,
  ) {}

  get path(): string {
    return this.file.path;
  }

  get capabilities(): Capabilities {
    const layers = { lock: 'native-fallback', wait: 'native-fallback' } as const;
    return { layers, fairness: this.order.fairness, answersAtOnce: true, isSemaphore: true };
  }

  tryAcquire(): Grant | null {
    // Queued requests come first. One that is queued after this look has asked later.
    try {
      if (this.order.queue?.look((sidecar) => sidecar.isFirst()) === CONTENDED) return null;
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
    }
    return this.tryPermits();
  }

  /** All requests are shared ones in the queue of a thread; between processes each wants a permit for itself. */
  request(_mode: LockMode, onQueued?: () => void): PendingAcquire {
    return new PendingPermit(this, this.order, this.order.takeTurn('exclusive', onQueued));
  }

  /** No permit is free. */
  isLocked(): boolean {
    const shown = locksUnlessOpened(this.path, this.name);
    if (shown !== undefined)
      return this.#areTaken((permit) => shown.some((line) => coversAny(line, { start: permit, length: 1 })));
    const file = openToLook(this.file);
    if (file === undefined) return false;
    try {
      return this.#areTaken((permit) => this.#bytes(file, permit, 1).isLocked());
    } catch (error) {
      throw this.explained(error);
    } finally {
      file.close();
    }
  }

  #areTaken(isTaken: (permit: number) => boolean): boolean {
    for (let permit = 0; permit < this.permits; permit++) if (!isTaken(permit)) return false;
    return true;
  }

  inspect(): Inspection {
    const { path, followSymlinks } = this.file;
    const sidecar = this.order.queue?.sidecar;
    const look = () => semaphoreParties(path, followSymlinks, sidecar);
    return inspection(look, { underWay: this.state.looks, key: `semaphore ${sidecar}` });
  }

  waitSync(_mode: LockMode, timeout: number): Grant | null {
    return pollSync(() => this.tryAcquire(), timeout);
  }

  overlapsHeld(): boolean {
    return false;
  }

  dispose(): void {
    this.order.queue?.dispose();
  }

  tryWith(turn: Turn): Grant | null {
    if (turn.sidecar === undefined) return this.tryAcquire();
    return turn.sidecar.isFirst() === GRANTED ? this.tryPermits(turn) : null;
  }

  tryPermits(turn: Turn = KERNEL_TURN): Grant | null {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.#open();
      try {
        const found = this.#tryEach(file);
        if (typeof found === 'number') return this.grant(file, found, turn);
        file.close();
        if (found === 'none') return null;
      } catch (error) {
        file.close();
        throw this.explained(error);
      }
    }
    throw this.unsteady();
  }

  unsteady(): LockUnsupportedError {
    const why = `its file was replaced ${MAX_REPLACED} times in a row between open and lock`;
    return new LockUnsupportedError(this.file.path, why);
  }

  openFor(permit: number): OpenFile | undefined {
    const file = this.#open();
    try {
      if (this.#announce(file)) {
        file.native = this.#bytes(file, permit, 1);
        return file;
      }
    } catch (error) {
      file.close();
      throw this.explained(error);
    }
    file.close();
    return undefined;
  }

  grant(file: OpenFile, permit: number, turn: Turn): Grant {
    turn.pass();
    return new Permit(this.file, file, permit);
  }

  explained(error: unknown): unknown {
    return explained(error, 'fcntl', this.file.path);
  }

  /** A link of the path may have been pointed elsewhere: then the next request goes to the queue of the new place. */
  #open(): OpenFile {
    this.place.look();
    return openLockFile(this.file, { access: 'write' });
  }

  /** The number of the permit. */
  #tryEach(file: OpenFile): number | 'none' | 'replaced' {
    if (!this.#announce(file)) return 'replaced';
    for (let permit = 0; permit < this.permits; permit++) {
      file.native = this.#bytes(file, permit, 1);
      const status = file.nativeFile.tryLock('exclusive');
      if (status === REPLACED) return 'replaced';
      if (status === GRANTED) return permit;
    }
    return 'none';
  }

  /** Tells how many permits there are, and looks for processes that tell otherwise. False: not the file at the path. */
  #announce(file: OpenFile): boolean {
    if (this.#bytes(file, PERMIT_NUMBERS + this.permits, 1).tryLock('shared') === REPLACED) return false;
    const below = this.#bytes(file, PERMIT_NUMBERS, this.permits);
    const above = this.#bytes(file, PERMIT_NUMBERS + this.permits + 1, MOST_PERMITS);
    const other = below.conflict() ?? above.conflict();
    if (other === undefined) return true;
    const why = `another process uses it as a semaphore of ${other - PERMIT_NUMBERS} permits, not of ${this.permits}`;
    throw new LockMismatchError(this.file.path, why);
  }

  #bytes(file: OpenFile, start: number, length: number): NativeFile {
    return new NativeFile(this.addon, file.fd, { ...this.file, range: { start, length } });
  }
}

class Permit implements Grant {
  constructor(
    private readonly options: LockFileOptions,
    private readonly file: OpenFile,
    readonly permit: number,
  ) {}

  get fd(): number {
    return this.file.fd;
  }

  unlock(): void {
    this.file.unlockAndClose();
  }

  watch(onLoss: (error: Error) => void): () => void {
    const gone = (): void => onLoss(this.#lost());
    return watchForLoss(this.options.path, () => isCurrent(this.options, this.file), gone);
  }

  check(): void {
    if (!isCurrent(this.options, this.file)) throw this.#lost();
  }

  #lost(): LockLostError {
    return new LockLostError(this.options.path, 'its file was removed or replaced');
  }
}

/**
 * Locks of the kernel on an open file: the rules that `flock` and `fcntl` have in common.
 *
 * Every holder and every wait has an open file of its own: a second lock through the same open file would be granted at
 * once. After every grant the file is compared with the one at the path: it may have been removed between open and
 * lock, and then other processes lock the new file. A contended file is compared too, so that no request waits for the
 * holder of a file that was removed.
 */
import { fstatSync } from 'node:fs';
import type {
  Adoptable,
  Backend,
  Capabilities,
  Grant,
  Inspection,
  PendingAcquire,
  Stealable,
  SyncWaitable,
} from '../../core/backend.js';
import { codeOf, errnoOf, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { isLockFolder, lockFolderOf, MAX_REPLACED } from '../../files/lock-file.js';
import type { LockPlace } from '../../files/lock-place.js';
import { OpenFile } from '../../files/open-file.js';
import { coversAny, locksUnlessOpened } from '../../inspect/lock-list.js';
import { inspection } from '../../inspect/looking.js';
import { lockParties } from '../../inspect/proc-locks.js';
import { CONTENDED, GRANTED } from '../../native/addon.js';
import type { TryStatus } from '../../native/native-file.js';
import { waitSync } from '../../native/native-wait.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import { Deadline } from '../../timers.js';
import type { ProcessOrder } from '../order/process-order.js';
import { KERNEL_TURN, type Turn } from '../order/turn.js';
import { overlapsHeld } from '../path-registry.js';
import type { PathState } from '../path-state.js';
import { pollSync } from '../poll.js';
import { KernelFiles } from './kernel-files.js';
import { KernelGrant, type KernelParts } from './kernel-grant.js';
import type { LockCalls } from './lock-calls.js';
import { LockTry } from './lock-try.js';
import { type LockSource, PendingLock } from './pending-lock.js';
import { explained } from './refused.js';
import { replaceFile } from './replace-file.js';

export class KernelBackend implements Backend, SyncWaitable, Stealable, Adoptable, KernelParts, LockSource {
  readonly path: string;
  readonly name: 'flock' | 'fcntl';
  readonly files: KernelFiles;
  readonly tries: LockTry;

  constructor(
    place: LockPlace,
    private readonly options: InternalLockOptions,
    private readonly state: PathState,
    readonly calls: LockCalls,
    readonly order: ProcessOrder,
  ) {
    this.path = place.path;
    this.name = calls.name;
    this.files = new KernelFiles(place, options, state, calls);
    this.tries = new LockTry(calls, order, options.unlinkOnRelease);
  }

  get capabilities(): Capabilities {
    const { fairness } = this.order;
    const layers: Capabilities['layers'] =
      fairness === 'kernel' ? this.calls.layers : { lock: 'native-fallback', wait: 'native-fallback' };
    return { fairness, layers, answersAtOnce: true, isSemaphore: false };
  }

  tryAcquire(mode: LockMode, isFollowedByWait: boolean): Grant | null {
    if (isFollowedByWait && this.order.isCrowded) return null;
    return this.tryWith(mode, KERNEL_TURN, isFollowedByWait);
  }

  request(mode: LockMode, onQueued?: () => void): PendingAcquire {
    return new PendingLock(this, mode, this.order, this.order.takeTurn(mode, onQueued));
  }

  /** A look: it changes nothing of what it looks at. */
  isLocked(): boolean {
    const { files } = this;
    if (isLockFolder(lockFolderOf(files.file))) return true; // A process without native locks has it.
    const shown = locksUnlessOpened(this.path, this.name);
    if (shown !== undefined) return shown.some((line) => coversAny(line, this.options.range));
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = files.openToLook();
      if (file === undefined) return false;
      try {
        this.calls.prepare(file);
        const isLocked = this.calls.isLocked(file);
        if (this.calls.isCurrent(file)) return isLocked;
      } catch (error) {
        if (!files.mustWrite(error, file)) throw this.explained(error);
      } finally {
        file.close();
      }
    }
    throw this.noStableIdentity();
  }

  inspect(): Inspection {
    const sidecar = this.order.queue?.sidecar;
    const key = `${this.name} ${sidecar}`;
    return inspection(() => lockParties(this.path, this.name, sidecar), { underWay: this.state.looks, key });
  }

  waitSync(mode: LockMode, timeout: number): Grant | null {
    const deadline = new Deadline(timeout);
    const polled = (): Grant | null => pollSync(() => this.tryAcquire(mode, true), deadline.left);
    if (this.calls.addon === undefined) return polled();
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.files.takeUnlessLeased(mode);
      if (file === undefined) return polled();
      let sidecar: OpenFile | undefined;
      let status: number | undefined;
      try {
        sidecar = this.order.openSidecar();
        status = waitSync(file.nativeFile, sidecar?.nativeFile, mode, deadline.left, () => {
          file.unlockAndClose();
          sidecar?.close();
        });
      } catch (error) {
        file.close();
        sidecar?.close();
        if (codeOf(error) === 'EAGAIN') return polled(); // There is no thread to wait on.
        throw error;
      }
      if (status === undefined) return null;
      // With the sidecar's descriptor goes the ticket, if it was not dropped with the grant.
      sidecar?.close();
      if (status === GRANTED) return this.grant(file, mode);
      file.unlockAndClose();
      if (status >= 0) continue;
      const error = systemError(-status, this.name, this.path);
      if (!this.files.mustWrite(error, file)) throw this.explained(error);
    }
    throw this.noStableIdentity();
  }

  overlapsHeld(): boolean {
    return this.name === 'fcntl' && overlapsHeld(this.state.name);
  }

  steal(releaseOwn: () => void): Grant {
    if (process.platform === 'win32')
      throw new LockUnsupportedError(this.path, 'on Windows a file that is open cannot be replaced');
    try {
      const file = replaceFile(this.files.file, this.calls);
      releaseOwn(); // After it: no other request is granted in between.
      return this.grant(file, 'exclusive');
    } catch (error) {
      throw this.explained(error);
    }
  }

  /** An open file that has the lock gets it again; one that has not, only if no other open file has it. */
  adopt(fd: number): Grant {
    if (process.platform === 'win32')
      throw new LockUnsupportedError(this.path, 'on Windows no process inherits a lock');
    const file = this.#inherited(fd);
    this.calls.prepare(file);
    if (!this.calls.isCurrent(file))
      throw new LockMismatchError(this.path, `descriptor ${fd} is another file than the one at the path`);
    if (this.calls.tryLock(file, 'exclusive') === GRANTED) return this.grant(file, 'exclusive');
    throw new LockMismatchError(this.path, `it is not held through descriptor ${fd}, but through another open file`);
  }

  #inherited(fd: number): OpenFile {
    try {
      const { dev, ino } = fstatSync(fd, { bigint: true });
      return new OpenFile(fd, dev, ino, true, false);
    } catch (error) {
      throw systemError(errnoOf(error) ?? 0, 'fstat', this.path);
    }
  }

  dispose(): void {
    this.files.dispose();
    this.order.queue?.dispose();
  }

  tryWith(mode: LockMode, turn: Turn, isFollowedByWait: boolean): Grant | null {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.files.takeUnlessLeased(mode);
      if (file === undefined) return null;
      let status: TryStatus;
      try {
        status = this.tries.try(file, mode, turn, isFollowedByWait);
      } catch (error) {
        file.close();
        if (this.files.mustWrite(error, file)) continue;
        throw this.explained(error);
      }
      if (status === GRANTED) return this.grant(file, mode, turn);
      if (status === CONTENDED) {
        this.files.putBack(file);
        return null;
      }
      // Closing drops the lock, if the replaced file had given it to us: no other process has a file that we opened.
      file.close();
    }
    throw this.noStableIdentity();
  }

  grant(file: OpenFile, mode: LockMode, turn: Turn = KERNEL_TURN): Grant {
    turn.granted();
    return new KernelGrant(this, file, mode);
  }

  explained(error: unknown): unknown {
    return explained(error, this.name, this.path);
  }

  noStableIdentity(): LockUnsupportedError {
    const why =
      `the file at the path was another one than the file just opened there ${MAX_REPLACED} times in a row; ` +
      'its file system seems to have no stable inode numbers';
    return new LockUnsupportedError(this.path, why);
  }
}

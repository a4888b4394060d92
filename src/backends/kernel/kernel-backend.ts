/** Locks of the kernel on an open file: what `flock` and `fcntl` have in common. */
import { unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import type { Grant, Granted, Mechanism } from '../../core/backend.js';
import type { FifoQueue } from '../../core/fifo-queue.js';
import { codeOf, LockLostError, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { type IdleFiles, idleFilesOf } from '../../files/descriptor-cache.js';
import {
  type Access,
  type LockFileOptions,
  type OpenFile,
  openLockFile,
  withDescriptors,
} from '../../files/lock-file.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import { CONTENDED, GRANTED, type NativeFile, waitSync } from '../../native/addon.js';
import type { InternalLockOptions } from '../../options.js';
import type { Ticket, TicketQueue } from '../fifo/ticket-queue.js';
import { poll, pollSync } from '../poll.js';
import type { KernelCalls } from './lock-calls.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';
import { takeRemovalRight } from './removal-lock.js';
import { putInPlace } from './replace-file.js';

/** What the kernel says where a file system has no locks (NFS without lockd, some FUSE) or no OFD locks (EINVAL). */
export const NO_LOCKS_HERE = new Set(['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL']);

/** Tries that fail because another process asks at that moment whether the lock is held: it takes some microseconds. */
const PROBED_TRIES = 1000;
/** So many in a row that no question explains are contended by a holder. */
const HELD_TRIES = 3;

/** Granted at once on a file just opened, and already not the one at the path: that needs bad luck every time. */
const ORPHANS_IN_A_ROW = 100;

/**
 * The file rules. Every holder and every wait has an open file of its own: a second lock through the same open file
 * would be granted at once. After every grant the file is compared with the one at the path: it may have been removed
 * between open and lock, and then others lock the new file. A contended file is compared too, so that nobody waits
 * for the holder of an orphan.
 */
export class KernelLock implements Mechanism {
  readonly name: 'flock' | 'fcntl';
  readonly #file: LockFileOptions;
  readonly #idle: IdleFiles;
  readonly #queue: FifoQueue;
  /** The file system locks only what is open for writing: NFS, which makes byte-range locks of flock. */
  #needsWrite = false;

  constructor(
    readonly path: string,
    readonly options: InternalLockOptions,
    queue: FifoQueue,
    readonly calls: KernelCalls,
    readonly overlapsHeld?: (() => boolean) | undefined,
  ) {
    this.name = calls.name;
    // Bytes of a file are locked because of its content.
    this.#file = { ...options, path, dataFile: options.dataFile || options.range !== undefined };
    this.#idle = idleFilesOf(queue);
    this.#queue = queue;
  }

  get sidecar(): string | undefined {
    return this.calls.tickets?.sidecar;
  }

  get fairness(): 'kernel' | 'fifo' {
    return this.calls.tickets === undefined ? 'kernel' : 'fifo';
  }

  get layers(): KernelCalls['layers'] {
    return this.calls.layers;
  }

  join(shared: boolean): Ticket | undefined {
    const ticket = this.calls.tickets?.join(shared);
    if (ticket?.failure === undefined || !this.calls.doesWithoutTickets?.(ticket.failure)) return ticket;
    ticket.leave();
    return undefined;
  }

  tryLock(shared: boolean, ticket?: Ticket, waits = true): Grant | null {
    const line = ticket?.line;
    if (ticket !== undefined && line === undefined) return null; // It is being drawn.
    for (let orphans = 0; orphans < ORPHANS_IN_A_ROW; orphans++) {
      const file = this.#takeUnlessLeased(shared);
      if (file === undefined) return null;
      let status: number;
      try {
        status = line === undefined ? this.calls.tryLock(file, shared) : this.#tryTurn(file, line, shared);
        if (!waits && status === CONTENDED && line === undefined) status = this.#unlessProbed(file, shared);
      } catch (error) {
        file.close();
        if (this.#mustWrite(error, file)) continue;
        throw this.#explained(error);
      }
      if (status === GRANTED) return this.#granted(file, shared, ticket);
      if (status === CONTENDED) {
        this.#idle.put(this.calls.key, file);
        return null;
      }
      // Closing drops the lock, if the orphan had given it to us: nobody else has a file that we opened.
      file.close();
    }
    throw this.#noStableIdentity();
  }

  wait(shared: boolean, granted: Granted, ticket?: Ticket): () => void {
    const tryAgain = (): Grant | null => this.tryLock(shared, ticket);
    let withdraw: () => void = () => {};
    const attempt = (step: () => void) => (): void => {
      try {
        step();
      } catch (error) {
        granted(error as Error);
      }
    };
    const park = (): void => {
      withdraw =
        this.#park(shared, ticket, (outcome) => attempt(() => onOutcome(outcome))()) ?? poll(tryAgain, granted);
    };
    const onOutcome = (outcome: ParkOutcome): void => {
      if ('error' in outcome && !this.#mustWrite(outcome.error, outcome.file)) throw this.#explained(outcome.error);
      // Granted on an orphan: the file was removed or replaced while we waited. Now for the new one.
      const grant = !('error' in outcome) && outcome.current ? this.#granted(outcome.file, shared, ticket) : tryAgain();
      if (grant === null) park();
      else granted(undefined, grant);
    };
    if (ticket === undefined || ticket.line !== undefined) park();
    else {
      ticket.whenReady(
        attempt(() => {
          const grant = tryAgain();
          if (grant === null) park();
          else granted(undefined, grant);
        }),
      );
    }
    return () => withdraw();
  }

  steal(letGo: () => void): Grant {
    try {
      const file = putInPlace(this.#file, this.calls);
      letGo(); // After it: nobody is granted in between.
      return new KernelGrant(this, file, false);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  waitSync(shared: boolean, timeout: number): Grant | null {
    const { addon, tickets } = this.calls;
    const end = performance.now() + timeout;
    const left = (): number => Math.max(0, end - performance.now());
    const polled = (): Grant | null => pollSync(() => this.tryLock(shared), left());
    if (addon === undefined) return polled();
    for (;;) {
      const file = this.#takeUnlessLeased(shared);
      if (file === undefined) return polled();
      let line: OpenFile | undefined;
      let status: number | undefined;
      try {
        line = this.#openLine(tickets);
        status = waitSync(addon, file.nativeFile, line?.nativeFile, shared, left());
      } catch (error) {
        file.close();
        throw error;
      } finally {
        // With the line's descriptor goes the ticket, if it was not given up with the grant.
        line?.close();
      }
      if (status === GRANTED) return new KernelGrant(this, file, shared);
      file.unlockAndClose(addon);
      if (status === undefined) return null;
      if (status === -EAGAIN) return polled(); // There is no thread to wait on.
      if (status >= 0) continue;
      const error = systemError(-status, this.name, this.path);
      if (!this.#mustWrite(error, file)) throw this.#explained(error);
    }
  }

  isLocked(): boolean {
    for (let attempt = 0; attempt < ORPHANS_IN_A_ROW; attempt++) {
      let file: OpenFile;
      try {
        file = this.#open(this.#needsWrite ? 'write' : 'read', false);
      } catch (error) {
        if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false; // A question makes no file.
        throw error;
      }
      try {
        this.calls.opened(file);
        const locked = this.calls.isLocked(file);
        if (this.calls.isCurrent(file)) return locked;
      } catch (error) {
        if (!this.#mustWrite(error, file)) throw this.#explained(error);
      } finally {
        file.close();
      }
    }
    throw this.#noStableIdentity();
  }

  dispose(): void {
    this.#idle.clear();
    this.calls.tickets?.dispose();
  }

  /** @internal A grant ends here. Never throws: what cannot be unlocked is closed, which unlocks it. */
  unlock(file: OpenFile, shared: boolean, keep: boolean): void {
    try {
      if (this.options.unlinkOnRelease && this.#remove(file, shared)) return file.close();
      this.calls.unlock(file);
      if (keep) this.#idle.put(this.calls.key, file);
      else file.close();
    } catch {
      file.close();
    }
  }

  /** Undefined: another program has a lease on the file, and gives it up before long. */
  #takeUnlessLeased(shared: boolean): OpenFile | undefined {
    try {
      return this.#take(shared);
    } catch (error) {
      if (isLeased(error)) return undefined;
      throw error;
    }
  }

  #take(shared: boolean): OpenFile {
    const { calls } = this;
    const access = this.#access(shared);
    const idle = this.#idle.take(calls.key, access !== 'read');
    if (idle !== undefined) return idle;
    const file = this.#open(access);
    try {
      calls.opened(file);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #access(shared: boolean): Access {
    if (this.#needsWrite || this.calls.needsWrite(shared)) return 'write';
    // The lock that removal takes is a byte-range lock (see removal-right.ts).
    return this.options.unlinkOnRelease ? 'write if allowed' : 'read';
  }

  #open(access: Access, creates = true): OpenFile {
    const { directories } = this.options;
    try {
      return openLockFile(this.#file, { access, directories: this.calls.directories && directories, creates });
    } catch (error) {
      if (directories || codeOf(error) !== 'EISDIR') throw error;
      throw new LockMismatchError(
        this.path,
        'it is a folder: a process locks the file beside it with proper-lockfile or its like. Let all use one of the two; if no process does, remove the folder',
      );
    }
  }

  /** Whether the lock was refused since its file is not open for writing; from now on it is. */
  #mustWrite(error: unknown, file: OpenFile): boolean {
    if (codeOf(error) !== 'EBADF' || file.writable || this.#needsWrite) return false;
    this.#needsWrite = true;
    return true;
  }

  #openLine(tickets: TicketQueue | undefined): OpenFile | undefined {
    try {
      return tickets?.open();
    } catch (error) {
      if (!this.calls.doesWithoutTickets?.(error)) throw error;
      return undefined;
    }
  }

  #noStableIdentity(): LockUnsupportedError {
    return new LockUnsupportedError(
      this.path,
      `the file at the path was another one than the file just opened there ${ORPHANS_IN_A_ROW} times in a row; its file system seems to have no stable inode numbers`,
    );
  }

  #granted(file: OpenFile, shared: boolean, ticket: Ticket | undefined): Grant {
    ticket?.granted();
    return new KernelGrant(this, file, shared);
  }

  /**
   * A contended try once more, unless it was contended by a holder: another process that asks `isLocked` has the lock for
   * some microseconds. It says so (isProbed), but may be done between our try and our look: so it takes some in a row.
   */
  #unlessProbed(file: OpenFile, shared: boolean): number {
    const { calls } = this;
    let status: number = CONTENDED;
    for (
      let tries = 0, held = 0;
      calls.isProbed !== undefined && status === CONTENDED && held < HELD_TRIES && tries < PROBED_TRIES;
      tries++
    ) {
      held = calls.isProbed(file) ? 0 : held + 1;
      status = calls.tryLock(file, shared);
    }
    return status;
  }

  #tryTurn(file: OpenFile, line: NativeFile, shared: boolean): number {
    const status = this.calls.addon?.tryTurn(file.nativeFile, line, shared) ?? CONTENDED;
    if (status < 0) throw systemError(-status, this.name, this.path);
    return status;
  }

  /** Undefined where there is no thread to wait on. */
  #park(
    shared: boolean,
    ticket: Ticket | undefined,
    onOutcome: (outcome: ParkOutcome) => void,
  ): (() => void) | undefined {
    const { addon, key } = this.calls;
    if (addon === undefined) return undefined;
    const abandoned = abandonedOf(this.#queue);
    let over = false;
    let endWatch = (): void => {};
    const end = (): void => {
      over = true;
      endWatch();
    };
    const withdraw = (wait: ParkedWait) => (): void => {
      end();
      // The ticket first: nobody behind us has to wait until the thread has noticed.
      ticket?.leave();
      if (!wait.cancel() && ticket === undefined) abandoned.push(wait);
    };
    const orphan = abandoned.findIndex((one) => one.shared === shared && one.key === key);
    const [adopted] = orphan < 0 || ticket !== undefined ? [] : abandoned.splice(orphan, 1);
    if (adopted?.adopt(onOutcome)) return withdraw(adopted);
    const file = this.#takeUnlessLeased(shared);
    if (file === undefined) return undefined;
    try {
      ticket?.park();
      const ended = (outcome: ParkOutcome): void => {
        end();
        onOutcome(outcome);
      };
      const wait = withDescriptors(
        () => new ParkedWait(addon, file, ticket?.line, shared, key, this.name, this.path, ended),
      );
      if (this.options.movable) {
        const moveOver = (): void => {
          if (over || !wait.cancel()) return;
          ticket?.moved();
          onOutcome({ file, current: false });
        };
        // Later, since the first look is at once, and this call has not come back yet.
        endWatch = watchForLoss(
          this.path,
          () => this.calls.isCurrent(file),
          () => queueMicrotask(moveOver),
        );
      }
      return withdraw(wait);
    } catch (error) {
      file.close();
      if (codeOf(error) === 'EAGAIN') return undefined;
      throw error;
    }
  }

  /**
   * Removal is safe only by one who holds the whole file exclusively: every other fairlock process that has it open
   * then finds, on its grant, that it is not at the path any more. A reader first has to become such a one; it lets
   * go of its share, tries without waiting, and leaves the file to whoever has it if that fails.
   */
  #remove(file: OpenFile, shared: boolean): boolean {
    const { calls } = this;
    if (shared) {
      calls.unlock(file);
      if (!file.writable || calls.tryLock(file, false) !== GRANTED) return false;
    } else if (!calls.isCurrent(file)) {
      return true;
    }
    try {
      // Who stands in line is about to use it, and removes it in turn.
      if (calls.tickets?.removeSidecar() === false) return false;
      // With fcntl we have that byte already, with all others.
      if (this.name === 'fcntl' || takeRemovalRight(calls.addon, this.#file, file)) unlinkSync(this.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    calls.unlock(file);
    return true;
  }

  #explained(error: unknown): unknown {
    const code = codeOf(error) ?? '';
    if (!NO_LOCKS_HERE.has(code)) return error;
    return new LockUnsupportedError(this.path, lockRefused(this.name, code), error);
  }
}

/** What refuses is not told: the same codes come from file systems, old kernels and the filters of sandboxes. */
export function lockRefused(name: string, code: string): string {
  return `${name} locks are refused here (${code}): its file system, the kernel or a sandbox does not allow them`;
}

const { EAGAIN } = constants.errno;

/** Opened without waiting, a file on which another process has a lease (Samba) is refused until the lease is given up. */
function isLeased(error: unknown): boolean {
  return codeOf(error) === 'EAGAIN' && (error as NodeJS.ErrnoException).syscall === 'open';
}

/** Waits of a path whose owners gave up but that cannot be interrupted: the path's next request adopts one. */
const abandonedWaits = new WeakMap<FifoQueue, ParkedWait[]>();

function abandonedOf(queue: FifoQueue): ParkedWait[] {
  const abandoned = abandonedWaits.get(queue) ?? [];
  abandonedWaits.set(queue, abandoned);
  return abandoned;
}

class KernelGrant implements Grant {
  #shown = false;

  constructor(
    private readonly lock: KernelLock,
    private readonly file: OpenFile,
    private readonly shared: boolean,
  ) {}

  get fd(): number {
    this.#shown = true;
    return this.file.fd;
  }

  unlock(): void {
    // A descriptor that was shown may live on in a child: its open file must not carry a later lock of ours.
    this.lock.unlock(this.file, this.shared, !this.#shown);
  }

  watch(lost: (error: Error) => void): () => void {
    const gone = (): void => lost(new LockLostError(this.lock.path, 'its file was removed or replaced'));
    return watchForLoss(this.lock.path, () => this.lock.calls.isCurrent(this.file), gone);
  }
}

/**
 * Locks of the kernel on an open file: the rules that `flock` and `fcntl` have in common.
 *
 * Every holder and every wait has an open file of its own: a second lock through the same open file would be granted at
 * once. After every grant the file is compared with the one at the path: it may have been removed between open and
 * lock, and then other processes lock the new file. A contended file is compared too, so that no request waits for the
 * holder of a file that was removed.
 */
import { unlinkSync } from 'node:fs';
import type {
  Backend,
  Capabilities,
  Grant,
  Inspection,
  PendingAcquire,
  Stealable,
  SyncWaitable,
} from '../../core/backend.js';
import { codeOf, LockLostError, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { type Access, type LockFileOptions, type OpenFile, openLockFile } from '../../files/lock-file.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import { inspection } from '../../inspect/looking.js';
import { lockParties } from '../../inspect/proc-locks.js';
import { CONTENDED, GRANTED, REMOVED } from '../../native/addon.js';
import type { TryStatus } from '../../native/native-file.js';
import { waitSync } from '../../native/native-wait.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import type { QueueAccess } from '../fifo/queue-access.js';
import type { Ticket, TicketQueue } from '../fifo/ticket-queue.js';
import { overlapsHeld } from '../path-registry.js';
import type { PathState } from '../path-state.js';
import { pollSync } from '../poll.js';
import type { LockCalls } from './lock-calls.js';
import { PendingLock } from './pending-lock.js';
import { explained, isLeased } from './refused.js';
import { takeRemovalLock } from './removal-lock.js';
import { replaceFile } from './replace-file.js';

/** Tries that fail because another process asks at that moment whether the lock is held: it takes some microseconds. */
const PROBED_TRIES = 1000;
/** So many in a row that no question explains are contended by a holder. */
const HELD_TRIES = 3;
/**
 * That the file at the path is replaced between open and lock takes bad luck each time; so often it is something else.
 */
const MAX_REPLACED = 100;

const IN_THE_WAY =
  'it is a folder: a process locks the file beside it with proper-lockfile or its like. Let all use one of ' +
  'the two; ' +
  'if no process does, remove the folder';

export class KernelBackend implements Backend, SyncWaitable, Stealable {
  readonly name: 'flock' | 'fcntl';
  readonly #file: LockFileOptions;
  /** The file system locks only what is open for writing: NFS, which makes byte-range locks of flock. */
  #needsWrite = false;

  constructor(
    readonly path: string,
    readonly options: InternalLockOptions,
    private readonly state: PathState,
    readonly calls: LockCalls,
    /** The order between processes. */
    private readonly order: QueueAccess,
  ) {
    this.name = calls.name;
    // Bytes of a file are locked because of its content.
    this.#file = { ...options, path, dataFile: options.dataFile || options.range !== undefined };
  }

  get capabilities(): Capabilities {
    const { fairness } = this.order;
    const layers: Capabilities['layers'] =
      fairness === 'kernel' ? this.calls.layers : { lock: 'native-fallback', wait: 'native-fallback' };
    return { fairness, layers, answersAtOnce: true, isSemaphore: false };
  }

  tryAcquire(mode: LockMode, isFollowedByWait: boolean): Grant | null {
    return this.tryWith(mode, undefined, isFollowedByWait);
  }

  request(mode: LockMode, onQueued?: () => void): PendingAcquire {
    return new PendingLock(this, mode, this.order.takeTicket(mode, onQueued));
  }

  isLocked(): boolean {
    for (let attempt = 0; attempt < MAX_REPLACED; attempt++) {
      let file: OpenFile;
      try {
        file = this.#open(this.#needsWrite ? 'write' : 'read', false);
      } catch (error) {
        if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false; // A question makes no file.
        throw error;
      }
      try {
        this.calls.prepare(file);
        const isLocked = this.calls.isLocked(file);
        if (this.calls.isCurrent(file)) return isLocked;
      } catch (error) {
        if (!this.mustWrite(error, file)) throw this.explained(error);
      } finally {
        file.close();
      }
    }
    throw this.#noStableIdentity();
  }

  inspect(): Inspection {
    const sidecar = this.order.queue?.sidecar;
    const key = `${this.name} ${sidecar}`;
    return inspection(() => lockParties(this.path, this.name, sidecar), { underWay: this.state.looks, key });
  }

  waitSync(mode: LockMode, timeout: number): Grant | null {
    const end = performance.now() + timeout;
    const left = (): number => Math.max(0, end - performance.now());
    const polled = (): Grant | null => pollSync(() => this.tryAcquire(mode, true), left());
    if (this.calls.addon === undefined) return polled();
    for (;;) {
      const file = this.#takeUnlessLeased(mode);
      if (file === undefined) return polled();
      let sidecar: OpenFile | undefined;
      let status: number | undefined;
      try {
        sidecar = this.#openSidecar();
        status = waitSync(file.nativeFile, sidecar?.nativeFile, mode, left());
      } catch (error) {
        file.close();
        throw error;
      } finally {
        // With the sidecar's descriptor goes the ticket, if it was not dropped with the grant.
        sidecar?.close();
      }
      if (status === GRANTED) return new KernelGrant(this, file, mode);
      file.unlockAndClose();
      if (status === undefined) return null;
      if (status >= 0) continue;
      const error = systemError(-status, this.name, this.path);
      if (codeOf(error) === 'EAGAIN') return polled(); // There is no thread to wait on.
      if (!this.mustWrite(error, file)) throw this.explained(error);
    }
  }

  overlapsHeld(): boolean {
    return this.name === 'fcntl' && overlapsHeld(this.state.name);
  }

  steal(releaseOwn: () => void): Grant {
    try {
      const file = replaceFile(this.#file, this.calls);
      releaseOwn(); // After it: no other request is granted in between.
      return new KernelGrant(this, file, 'exclusive');
    } catch (error) {
      throw this.explained(error);
    }
  }

  dispose(): void {
    this.state.descriptors.clear();
    this.order.queue?.dispose();
  }

  /** @internal One try, by a request with or without a ticket. */
  tryWith(mode: LockMode, ticket: Ticket | undefined, isFollowedByWait: boolean): Grant | null {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.#takeUnlessLeased(mode);
      if (file === undefined) return null;
      let status: TryStatus;
      try {
        status = ticket === undefined ? this.#tryLock(file, mode) : file.nativeFile.tryIfFirst(ticket.sidecar, mode);
        if (status === CONTENDED && !isFollowedByWait) status = this.#tryUnlessProbed(file, mode);
      } catch (error) {
        file.close();
        if (this.mustWrite(error, file)) continue;
        throw this.explained(error);
      }
      if (status === GRANTED) return this.grant(file, mode, ticket);
      if (status === CONTENDED) {
        this.state.descriptors.put(this.calls.key, file);
        return null;
      }
      // Closing drops the lock, if the replaced file had given it to us: no other process has a file that we opened.
      file.close();
    }
    throw this.#noStableIdentity();
  }

  /** @internal */
  grant(file: OpenFile, mode: LockMode, ticket: Ticket | undefined): Grant {
    ticket?.granted();
    return new KernelGrant(this, file, mode);
  }

  /** @internal An open file that no other request of this thread uses. */
  takeFile(mode: LockMode): OpenFile {
    const { calls } = this;
    const access = this.#access(mode);
    const cached = this.state.descriptors.take(calls.key, access !== 'read');
    if (cached !== undefined) return cached;
    const file = this.#open(access);
    try {
      calls.prepare(file);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** @internal Whether the lock was refused since its file is not open for writing; from now on files are. */
  mustWrite(error: unknown, file: OpenFile): boolean {
    if (codeOf(error) !== 'EBADF' || file.writable || this.#needsWrite) return false;
    this.#needsWrite = true;
    return true;
  }

  /** @internal */
  explained(error: unknown): unknown {
    return explained(error, this.name, this.path);
  }

  /** @internal A grant ends here. Never throws: what cannot be unlocked is closed, which unlocks it. */
  unlock(file: OpenFile, mode: LockMode, keep: boolean): void {
    try {
      if (this.options.unlinkOnRelease && this.#remove(file, mode)) return file.close();
      this.calls.unlock(file);
      if (keep) this.state.descriptors.put(this.calls.key, file);
      else file.close();
    } catch {
      file.close();
    }
  }

  #tryLock(file: OpenFile, mode: LockMode): TryStatus {
    const { queue } = this.order;
    if (queue === undefined) return this.calls.tryLock(file, mode);
    try {
      return this.#tryIfQueueEmpty(queue, file, mode);
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
      return this.calls.tryLock(file, mode);
    }
  }

  #tryIfQueueEmpty(queue: TicketQueue, file: OpenFile, mode: LockMode): TryStatus {
    // Where files come and go, no sidecar is made while no request is queued. The sidecar is removed only by a process
    // that has the main lock and finds no ticket; so if there is none once the lock is ours, no request came before.
    if (this.options.unlinkOnRelease && !queue.exists()) {
      const status = this.calls.tryLock(file, mode);
      if (status !== GRANTED || !queue.exists()) return status;
      this.calls.unlock(file);
    }
    for (;;) {
      const probe = queue.open();
      const status = file.nativeFile.tryIfQueueEmpty(probe.nativeFile, mode);
      if (status !== REMOVED) {
        queue.putBack(probe);
        return status;
      }
      probe.close();
    }
  }

  /**
   * A contended try once more, unless it was contended by a holder: another process that asks `isLocked` has the lock
   * for some microseconds. It says so (isProbed), but may be done between our try and our look: so a holder is believed
   * only after some tries in a row.
   */
  #tryUnlessProbed(file: OpenFile, mode: LockMode): TryStatus {
    let status: TryStatus = CONTENDED;
    if (!this.calls.canBeProbed) return status;
    for (let tries = 0, held = 0; status === CONTENDED && held < HELD_TRIES && tries < PROBED_TRIES; tries++) {
      held = this.calls.isProbed(file) ? 0 : held + 1;
      status = this.#tryLock(file, mode);
    }
    return status;
  }

  /** Undefined: another program has a lease on the file, and gives it up before long. */
  #takeUnlessLeased(mode: LockMode): OpenFile | undefined {
    try {
      return this.takeFile(mode);
    } catch (error) {
      if (isLeased(error)) return undefined;
      throw error;
    }
  }

  #access(mode: LockMode): Access {
    if (this.#needsWrite || this.calls.needsWrite(mode)) return 'write';
    // The removal lock is a byte-range lock (see removal-lock.ts).
    return this.options.unlinkOnRelease ? 'write if allowed' : 'read';
  }

  #open(access: Access, creates = true): OpenFile {
    const { directories } = this.options;
    try {
      return openLockFile(this.#file, { access, directories: this.calls.locksDirectories && directories, creates });
    } catch (error) {
      if (directories || codeOf(error) !== 'EISDIR') throw error;
      throw new LockMismatchError(this.path, IN_THE_WAY);
    }
  }

  #openSidecar(): OpenFile | undefined {
    try {
      return this.order.queue?.open();
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
      return undefined;
    }
  }

  /**
   * Removal is safe only for the process that holds the whole file exclusively: every other fairlock process that has
   * it open then finds, on its grant, that it is not at the path any more. A reader first has to become an exclusive
   * holder: it releases its share, tries without waiting, and leaves the file to its holders if that fails.
   */
  #remove(file: OpenFile, mode: LockMode): boolean {
    const { calls } = this;
    if (mode === 'shared') {
      calls.unlock(file);
      if (!file.writable || this.#tryLock(file, 'exclusive') !== GRANTED) return false;
    } else if (!calls.isCurrent(file)) {
      return true;
    }
    try {
      // A request that is queued is about to use the file, and removes it in turn.
      if (this.order.queue?.removeSidecar() === false) return false;
      // With fcntl we hold the byte of the removal lock already, with all others.
      if (this.name === 'fcntl' || takeRemovalLock(calls.addon, this.#file, file)) unlinkSync(this.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    calls.unlock(file);
    return true;
  }

  #noStableIdentity(): LockUnsupportedError {
    const why =
      `the file at the path was another one than the file just opened there ${MAX_REPLACED} times in a row; ` +
      'its file system seems to have no stable inode numbers';
    return new LockUnsupportedError(this.path, why);
  }
}

class KernelGrant implements Grant {
  #isShown = false;

  constructor(
    private readonly backend: KernelBackend,
    private readonly file: OpenFile,
    private readonly mode: LockMode,
  ) {}

  get fd(): number {
    this.#isShown = true;
    return this.file.fd;
  }

  unlock(): void {
    // A descriptor that was shown may live on in a child: its open file must not carry a later lock of ours.
    this.backend.unlock(this.file, this.mode, !this.#isShown);
  }

  watch(onLoss: (error: Error) => void): () => void {
    const { path, calls } = this.backend;
    const gone = (): void => onLoss(new LockLostError(path, 'its file was removed or replaced'));
    return watchForLoss(path, () => calls.isCurrent(this.file), gone);
  }
}

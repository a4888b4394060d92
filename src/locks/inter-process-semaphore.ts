/** The semaphore between processes. */

import { ticketQueueOf } from '../backends/fifo/ticket-queue.js';
import { Permits } from '../backends/kernel/semaphore-backend.js';
import { queueFor } from '../backends/path-registry.js';
import { systemClock } from '../core/clock.js';
import type { LockHandle, PermitHandle } from '../core/handle.js';
import { QueuedLock } from '../core/lock-core.js';
import { canonicalPath } from '../files/canonical-path.js';
import { needByteRanges } from '../native/addon.js';
import { type AcquireOptions, type InterProcessSemaphoreOptions, lockPath, semaphoreOptions } from '../options.js';
import type { LockInspection } from './file-lock.js';

/** What `inspect()` of a semaphore sees. */
export interface SemaphoreInspection extends LockInspection {
  permits: number;
}

/**
 * At most `permits` holders on the machine, counted over all processes and threads. The permit of a process that dies
 * is free at once. Within a thread waiters are served strictly in order of arrival; between processes too with
 * `fairness: 'fifo'`. All who use a path must name the same number of permits, or get `LockMismatchError`.
 *
 * Needs the addon (byte-range locks). Use a path of its own: the file of a lock is not that of a semaphore.
 */
export class InterProcessSemaphore implements Disposable {
  /** The absolute path. */
  readonly path: string;
  readonly permits: number;
  readonly #lock: QueuedLock;

  /**
   * @throws {TypeError} @throws {RangeError} a bad argument
   * @throws {LockUnsupportedError} the addon did not load, or the platform has no open-file-description locks
   */
  constructor(path: string | URL, options: InterProcessSemaphoreOptions) {
    const { permits, fairness, ...file } = semaphoreOptions(options);
    this.path = lockPath(path);
    this.permits = permits;
    const addon = needByteRanges(this.path, 'a semaphore');
    const canonical = canonicalPath(this.path, file.followSymlinks);
    const queue = queueFor(`${canonical}\0semaphore`);
    const lockFile = { ...file, path: this.path, dataFile: false };
    const tickets = fairness === 'kernel' ? undefined : ticketQueueOf(queue, canonical, lockFile, addon);
    const mechanism = new Permits(lockFile, permits, addon, tickets, fairness === 'auto');
    this.#lock = new QueuedLock(this.path, queue, mechanism, systemClock);
  }

  /** Permits held through this object. */
  get held(): number {
    return this.#lock.held;
  }

  /**
   * Waits for a permit.
   * @throws {LockMismatchError} another process uses the path with another number of permits
   * @throws what `InterProcessLock.acquire` throws
   */
  acquire(options?: AcquireOptions): Promise<PermitHandle> {
    return this.#lock.acquire(true, options) as Promise<PermitHandle>;
  }

  /** Null where it would have to wait, or overtake a waiter. */
  tryAcquire(): PermitHandle | null {
    return this.#lock.tryAcquire(true) as PermitHandle | null;
  }

  /** Whether no permit is free, whatever process has them. See `InterProcessLock.isLocked`. */
  isLocked(): boolean {
    return this.#lock.mechanism.isLocked();
  }

  /** Who holds a permit (an entry for each) and who waits, best effort, and which layer serves. */
  inspect(): SemaphoreInspection {
    const { path, permits, held } = this;
    const { fairness = 'kernel', layers } = this.#lock.mechanism;
    return { path, mechanism: 'fcntl', permits, fairness, layers, held: held > 0, ...this.#lock.parties() };
  }

  /** Holds a permit while `fn` runs. */
  withPermit<T>(fn: (handle: PermitHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#lock.with(true, fn as (handle: LockHandle) => T | PromiseLike<T>, options);
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held. */
  close(): void {
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

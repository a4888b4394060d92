/** The semaphore between processes. */
import { needByteRanges } from '../binding/native-fallback.js';
import { ticketQueueOf } from '../fairness/ticket-queue.js';
import { canonicalPath } from '../file/paths.js';
import { Permits } from '../mechanism/permits.js';
import { type AcquireOptions, type InterProcessSemaphoreOptions, lockPath, semaphoreOptions } from '../options.js';
import { systemClock } from '../queue/clock.js';
import { queueFor } from '../queue/registry.js';
import type { LockHandle } from './handle.js';
import { QueuedLock } from './queued-lock.js';

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
    const { permits, fairness, mode, followSymlinks } = semaphoreOptions(options);
    this.path = lockPath(path);
    this.permits = permits;
    const addon = needByteRanges(this.path, 'a semaphore');
    const canonical = canonicalPath(this.path, followSymlinks);
    const queue = queueFor(`${canonical}\0semaphore`);
    const tickets = fairness === 'kernel' ? undefined : ticketQueueOf(queue, canonical, mode, addon);
    const mechanism = new Permits({ path: this.path, mode, followSymlinks }, permits, addon, tickets);
    this.#lock = new QueuedLock(this.path, queue, mechanism, systemClock);
  }

  /** Permits held through this object. */
  get held(): number {
    return this.#lock.held;
  }

  /**
   * Waits for a permit.
   * @throws {LockMismatchError} somebody uses the path with another number of permits
   * @throws what `InterProcessLock.acquire` throws
   */
  acquire(options?: AcquireOptions): Promise<LockHandle> {
    return this.#lock.acquire(true, options);
  }

  /** Null where it would have to wait, or overtake a waiter. */
  tryAcquire(): LockHandle | null {
    return this.#lock.tryAcquire(true);
  }

  /** Holds a permit while `fn` runs. */
  withPermit<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#lock.with(true, fn, options);
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held. */
  close(): void {
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The semaphore between processes. */
import { Permits } from '../backends/kernel/permits.js';
import { SemaphoreBackend } from '../backends/kernel/semaphore-backend.js';
import { pathState } from '../backends/path-state.js';
import { processOrder } from '../backends/select.js';
import { systemClock } from '../core/clock.js';
import type { LockHandle, PermitHandle } from '../core/handle.js';
import { LockCore } from '../core/lock-core.js';
import { LockPlace } from '../files/lock-place.js';
import { needByteRanges } from '../native/addon.js';
import type { AcquireOptions, InterProcessSemaphoreOptions } from '../options.js';
import { lockPath, semaphoreOptions } from '../validate.js';
import type { LockInspection } from './file-lock.js';
import { PlacedCore } from './placed-core.js';

/** What `inspect()` of a semaphore sees. */
export interface SemaphoreInspection extends LockInspection {
  permits: number;
}

/**
 * At most `permits` holders on the machine, counted over all processes and threads. The permit of a process that dies
 * is free at once. Within a thread waiters are served strictly in order of arrival; between processes too with
 * `fairness: 'fifo'`. All processes that use a path must name the same number of permits, or get `LockMismatchError`.
 *
 * Needs the addon (byte-range locks). Use a path of its own: the file of a lock is not that of a semaphore.
 */
export class InterProcessSemaphore implements Disposable {
  /** The absolute path. */
  readonly path: string;
  readonly permits: number;
  readonly #core: PlacedCore;

  /**
   * @throws {TypeError} @throws {RangeError} a bad argument
   * @throws {LockUnsupportedError} the addon did not load, or the platform has no open-file-description locks
   */
  constructor(path: string | URL, options: InterProcessSemaphoreOptions) {
    const { permits, fairness, ...file } = semaphoreOptions(options);
    this.path = lockPath(path);
    this.permits = permits;
    const addon = needByteRanges(this.path, 'a semaphore');
    const place = new LockPlace(this.path, file);
    const lockFile = { ...file, path: this.path, dataFile: false };
    this.#core = new PlacedCore(
      this,
      place,
      (canonical) => ({ path: canonical, isSemaphore: true }),
      (name) => {
        const state = pathState(name);
        const order = processOrder(lockFile, fairness, state, place);
        const backend = new SemaphoreBackend(new Permits(lockFile, permits, addon, place), state, order);
        return new LockCore(this.path, state.queue, backend, systemClock);
      },
      () => false,
    );
  }

  /** Permits held through this object. */
  get held(): number {
    return this.#core.held;
  }

  /**
   * Waits for a permit.
   * @throws {LockMismatchError} another process uses the path with another number of permits
   * @throws what `InterProcessLock.acquire` throws
   */
  acquire(options?: AcquireOptions): Promise<PermitHandle> {
    return this.#core.now.acquire('shared', options) as Promise<PermitHandle>;
  }

  /** Null where it would have to wait, or overtake a waiter. */
  tryAcquire(): PermitHandle | null {
    return this.#core.now.tryAcquire('shared') as PermitHandle | null;
  }

  /** Whether no permit is free, whichever processes hold them. See `InterProcessLock.isLocked`. */
  isLocked(): boolean {
    return this.#core.now.backend.isLocked();
  }

  /** The holders (an entry for each permit) and waiters, best effort, and the layer that serves. */
  inspect(): SemaphoreInspection {
    const { path, permits, held } = this;
    const { backend, status } = this.#core.now;
    const { fairness, layers } = backend.capabilities;
    return { path, mechanism: 'fcntl', permits, fairness, layers, held: held > 0, ...status.now() };
  }

  /** Holds a permit while `fn` runs. */
  withPermit<T>(fn: (handle: PermitHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.now.with('shared', fn as (handle: LockHandle) => T | PromiseLike<T>, options);
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held. */
  close(): void {
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

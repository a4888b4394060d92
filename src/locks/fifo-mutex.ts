/** A mutex for the async tasks of one thread, strictly first come, first served. */
import { inProcess } from '../backends/in-process.js';
import { type Clock, systemClock } from '../core/clock.js';
import { FifoQueue } from '../core/fifo-queue.js';
import type { LockHandle } from '../core/handle.js';
import { LockCore } from '../core/lock-core.js';
import type { AcquireOptions } from '../options.js';
import { optionsObject } from '../validate.js';

export interface FifoMutexOptions {
  /** The timers behind `timeout` and `waitNotice`. @default the system's */
  clock?: Clock | undefined;
}

/**
 * Arrival order is service order: a release hands over to exactly the next waiter, and neither `acquire` nor
 * `tryAcquire` overtakes one, in whatever microtask it comes. Not re-entrant.
 */
export class FifoMutex implements Disposable {
  readonly #core: LockCore;

  constructor(options?: FifoMutexOptions) {
    const { clock = systemClock } = optionsObject<FifoMutexOptions>(options, ['clock']);
    this.#core = new LockCore(undefined, new FifoQueue(), inProcess, clock);
  }

  /** Whether it is held. */
  get held(): boolean {
    return this.#core.held > 0;
  }

  /** How many requests wait. */
  get waiting(): number {
    return this.#core.queue.waiting;
  }

  /**
   * Waits for its turn.
   * @throws {LockTimeoutError} `timeout` is over; `signal.reason` if aborted; {LockClosedError}; TypeError, RangeError
   */
  acquire(options?: AcquireOptions): Promise<LockHandle> {
    return this.#core.acquire('exclusive', options);
  }

  /** Null if it is held, or another request waits for it. */
  tryAcquire(): LockHandle | null {
    return this.#core.tryAcquire('exclusive');
  }

  /** Holds it while `fn` runs, until its promise is settled. */
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with('exclusive', fn, options);
  }

  /** Rejects all waiters with `LockClosedError`; a holder keeps it until release. */
  close(): void {
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

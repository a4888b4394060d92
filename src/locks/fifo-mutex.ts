/** A mutex for the async tasks of one thread, strictly first come, first served. */
import { inProcess } from '../backends/in-process.js';
import { type Clock, systemClock } from '../core/clock.js';
import { FifoQueue } from '../core/fifo-queue.js';
import type { LockHandle } from '../core/handle.js';
import { QueuedLock } from '../core/lock-core.js';
import { type AcquireOptions, optionsObject } from '../options.js';

export interface FifoMutexOptions {
  /** The timers behind `timeout` and `waitNotice`. @default the system's */
  clock?: Clock;
}

/**
 * Arrival order is service order: a release hands over to exactly the next waiter, and neither `acquire` nor
 * `tryAcquire` overtakes one, in whatever microtask it comes. Not re-entrant.
 */
export class FifoMutex implements Disposable {
  readonly #lock: QueuedLock;

  constructor(options?: FifoMutexOptions) {
    const { clock = systemClock } = optionsObject<FifoMutexOptions>(options, ['clock']);
    this.#lock = new QueuedLock(undefined, new FifoQueue(), inProcess, clock);
  }

  /** Whether somebody holds it. */
  get held(): boolean {
    return this.#lock.held > 0;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#lock.queue.waiting;
  }

  /**
   * Waits for its turn.
   * @throws {LockTimeoutError} `timeout` is over; `signal.reason` if aborted; {LockClosedError}; TypeError, RangeError
   */
  acquire(options?: AcquireOptions): Promise<LockHandle> {
    return this.#lock.acquire(false, options);
  }

  /** Null if somebody holds it or waits for it. */
  tryAcquire(): LockHandle | null {
    return this.#lock.tryAcquire(false);
  }

  /** Holds it while `fn` runs, until its promise is settled. */
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#lock.with(false, fn, options);
  }

  /** Rejects whoever waits with `LockClosedError`; a holder keeps it until release. */
  close(): void {
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

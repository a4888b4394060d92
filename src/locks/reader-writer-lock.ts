/** The reader/writer lock of one thread, with the semantics of fasteners' ReaderWriterLock. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { inProcess } from '../backends/in-process.js';
import { type Clock, systemClock } from '../core/clock.js';
import { FifoQueue } from '../core/fifo-queue.js';
import type { LockHandle } from '../core/handle.js';
import { LockCore } from '../core/lock-core.js';
import { contextHere, heldHere } from '../core/reentrancy.js';
import { LockDeadlockError } from '../errors.js';
import type { AcquireOptions, LockMode } from '../options.js';
import { callback, optionsObject } from '../validate.js';

export interface ReaderWriterLockOptions {
  /** The timers behind `timeout` and `waitNotice`. @default the system's */
  clock?: Clock | undefined;
}

/**
 * Many readers or one writer among the async tasks of a thread, strictly first come, first served: consecutive readers
 * enter together, a waiting writer stops the readers behind it.
 *
 * Where fasteners goes by thread, this goes by async context: the function given to `withReadLock` or `withWriteLock`,
 * and what it calls. A context re-enters what it holds without waiting; a writer may read; a reader cannot become a
 * writer, and a context that waits to write cannot read meanwhile: both throw `LockDeadlockError`.
 */
export class ReaderWriterLock implements Disposable {
  readonly #queue = new FifoQueue();
  readonly #core: LockCore;
  /** True in a function run by `withReadLock`, and what it calls. */
  readonly #reading = new AsyncLocalStorage<true>();
  readonly #pendingWriters = new Map<object | undefined, number>();

  constructor(options?: ReaderWriterLockOptions) {
    const { clock = systemClock } = optionsObject<ReaderWriterLockOptions>(options, ['clock']);
    this.#core = new LockCore(undefined, this.#queue, inProcess, clock, true);
  }

  /** Whether the running context reads, also where it is a writer that reads as well (as in fasteners). */
  isReader(): boolean {
    const hold = heldHere(this.#queue);
    return hold !== undefined && (hold.mode === 'shared' || this.#reading.getStore() === true);
  }

  /** Whether the running context writes or, with `checkPending`, waits to. @param checkPending default true */
  isWriter(checkPending = true): boolean {
    return heldHere(this.#queue)?.mode === 'exclusive' || (checkPending && this.#isPendingWriter());
  }

  /** Whether a request waits to write. */
  get hasPendingWriters(): boolean {
    for (const waiter of this.#queue) if (waiter.mode === 'exclusive') return true;
    return false;
  }

  /** What it is held for at the moment. */
  get owner(): 'reader' | 'writer' | null {
    return this.#queue.holders === 0 ? null : this.#queue.heldMode === 'shared' ? 'reader' : 'writer';
  }

  /** Whether it is held. */
  get held(): boolean {
    return this.#core.held > 0;
  }

  /**
   * Waits to read.
   * @throws {LockDeadlockError} the running context waits to write; and what `FifoMutex.acquire` throws
   */
  async acquireRead(options?: AcquireOptions): Promise<LockHandle> {
    return this.#core.acquire(this.#readMode(), options);
  }

  /** Waits to write, alone. @throws {LockDeadlockError} the running context reads */
  async acquireWrite(options?: AcquireOptions): Promise<LockHandle> {
    return this.#asPendingWriter(() => this.#core.acquire('exclusive', options));
  }

  tryAcquireRead(): LockHandle | null {
    return this.#core.tryAcquire(this.#readMode());
  }

  tryAcquireWrite(): LockHandle | null {
    return this.#core.tryAcquire('exclusive');
  }

  async withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    callback(fn);
    return this.#core.with(this.#readMode(), (handle) => this.#reading.run(true, () => fn(handle)), options);
  }

  async withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with('exclusive', fn, options, (acquire) => this.#asPendingWriter(acquire));
  }

  /** Rejects all waiters with `LockClosedError`; a holder keeps it until release. */
  close(): void {
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A writer that reads re-enters as the writer it is. */
  #readMode(): LockMode {
    if (this.#isPendingWriter())
      throw new LockDeadlockError(undefined, 'this async context waits to write, and cannot read meanwhile');
    return heldHere(this.#queue)?.mode ?? 'shared';
  }

  /** The outermost context is shared by all code: nothing is said of it. */
  #isPendingWriter(): boolean {
    const context = contextHere();
    return context !== undefined && this.#pendingWriters.has(context);
  }

  async #asPendingWriter<T>(acquire: () => Promise<T>): Promise<T> {
    const context = contextHere();
    const count = (change: number): void => {
      const pending = (this.#pendingWriters.get(context) ?? 0) + change;
      if (pending === 0) this.#pendingWriters.delete(context);
      else this.#pendingWriters.set(context, pending);
    };
    count(1);
    try {
      return await acquire();
    } finally {
      count(-1);
    }
  }
}

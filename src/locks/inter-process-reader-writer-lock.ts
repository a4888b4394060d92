/** The reader/writer lock between processes. */

import type { LockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';
import { PathLock } from './file-lock.js';

/**
 * Many readers or one writer, between processes. Within a thread strictly in order of arrival: consecutive readers
 * enter together, and a waiting writer stops the readers behind it. With `fairness: 'fifo'` between processes as well,
 * so that no stream of readers starves a writer.
 *
 * A reader cannot become a writer nor the other way round (as in fasteners): inside `withReadLock`, asking for the
 * write lock throws `LockDeadlockError`, and vice versa. Mechanism `lockfile` is exclusive only: there readers exclude
 * each other too, and `handle.shared` is false.
 */
export class InterProcessReaderWriterLock extends PathLock {
  /** What reading asks for: a share, where the mechanism knows sharing. */
  readonly #read = this.mechanism !== 'lockfile';

  /** Waits to read: beside other readers, not beside a writer. Errors as in `InterProcessLock.acquire`. */
  acquireRead(options?: AcquireOptions): Promise<LockHandle> {
    return this.lock.acquire(this.#read, options);
  }

  /** Waits to write, alone. */
  acquireWrite(options?: AcquireOptions): Promise<LockHandle> {
    return this.lock.acquire(false, options);
  }

  /** Null where it would have to wait, or overtake a waiter. */
  tryAcquireRead(): LockHandle | null {
    return this.lock.tryAcquire(this.#read);
  }

  tryAcquireWrite(): LockHandle | null {
    return this.lock.tryAcquire(false);
  }

  /** Blocks the thread: see `InterProcessLock.acquireSync`. */
  acquireReadSync(options?: { timeout?: number }): LockHandle {
    return this.lock.acquireSync(this.#read, options);
  }

  acquireWriteSync(options?: { timeout?: number }): LockHandle {
    return this.lock.acquireSync(false, options);
  }

  /** Reads while `fn` runs. */
  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.lock.with(this.#read, fn, options);
  }

  /** Writes while `fn` runs. */
  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.lock.with(false, fn, options);
  }
}

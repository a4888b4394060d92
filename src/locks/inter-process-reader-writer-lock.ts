/** The reader/writer lock between processes. */
import type { LockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';
import { FileLock } from './file-lock.js';

/**
 * Many readers or one writer, between processes. Within a thread strictly in order of arrival: consecutive readers
 * enter together, and a waiting writer stops the readers behind it. With `fairness: 'fifo'` between processes as well,
 * so that no stream of readers starves a writer.
 *
 * A reader cannot become a writer nor the other way round (as in fasteners): inside `withReadLock`, asking for the
 * write lock throws `LockDeadlockError`, and vice versa. Mechanism `lockfile` is exclusive only: there readers exclude
 * each other too, and `handle.shared` is false.
 */
export class InterProcessReaderWriterLock extends FileLock {
  /** What reading asks for, where the mechanism knows sharing. */
  readonly #read = this.mechanism === 'lockfile' ? 'exclusive' : 'shared';

  /** Waits to read: beside other readers, not beside a writer. Errors as in `InterProcessLock.acquire`. */
  acquireRead(options?: AcquireOptions): Promise<LockHandle> {
    return this.core.acquire(this.#read, options);
  }

  /** Waits to write, alone. */
  acquireWrite(options?: AcquireOptions): Promise<LockHandle> {
    return this.core.acquire('exclusive', options);
  }

  /** Null where it would have to wait, or overtake a waiter. */
  tryAcquireRead(): LockHandle | null {
    return this.core.tryAcquire(this.#read);
  }

  tryAcquireWrite(): LockHandle | null {
    return this.core.tryAcquire('exclusive');
  }

  /** Blocks the thread: see `InterProcessLock.acquireSync`. */
  acquireReadSync(options?: { timeout?: number | undefined }): LockHandle {
    return this.core.acquireSync(this.#read, options);
  }

  acquireWriteSync(options?: { timeout?: number | undefined }): LockHandle {
    return this.core.acquireSync('exclusive', options);
  }

  /** Reads while `fn` runs. */
  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.core.with(this.#read, fn, options);
  }

  /** Writes while `fn` runs. */
  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.core.with('exclusive', fn, options);
  }
}

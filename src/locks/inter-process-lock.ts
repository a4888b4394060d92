/** The lock between processes. */
import type { LockHandle, ProcessLockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';
import { descriptor } from '../validate.js';
import { FileLock } from './file-lock.js';

/**
 * A lock between processes, on a file. Within a thread it is served strictly in order of arrival; between processes
 * the order is the kernel's, or, with `fairness: 'fifo'`, strict too. The kernel drops the lock when its holder dies,
 * however it dies.
 *
 * Not guaranteed: exclusion of programs that do not lock (it is advisory), of other machines on a network file
 * system, and, with mechanism `lockfile`, of a holder that misses its heartbeat.
 */
export class InterProcessLock extends FileLock {
  /**
   * Waits for its turn, then for the lock.
   * @throws {LockTimeoutError} not granted within `timeout` ms
   * @throws {LockClosedError} `close()` was called
   * @throws {LockMismatchError} processes with and without native locks use the path
   * @throws {LockUnsupportedError} the file or its file system cannot be locked
   * @throws `signal.reason` on abort; system errors (EACCES, ELOOP, EMFILE, …) as Node shapes them
   */
  acquire(options?: AcquireOptions): Promise<ProcessLockHandle> {
    return this.core.acquire('exclusive', options);
  }

  /** Never waits and never overtakes: null where the lock is held or waited for. Throws like `acquire`. */
  tryAcquire(): ProcessLockHandle | null {
    return this.core.tryAcquire('exclusive');
  }

  /**
   * Waits and blocks the thread: nothing else of it runs meanwhile.
   * @param options `timeout` in ms, default Infinity; 0 = try once
   * @throws {LockDeadlockError} at once, if this thread's own code holds the lock or stands before this call
   * @throws what `acquire` throws
   */
  acquireSync(options?: { timeout?: number | undefined }): ProcessLockHandle {
    return this.core.acquireSync('exclusive', options);
  }

  /**
   * Takes over the lock from the process that started this one, and gave it `handle.fd` as one of its `stdio`; or from
   * a shell, or `fairlock run`, whose descriptor was inherited. The descriptor is the handle's from now on. A lock that
   * is free is taken through it. A process that shares the open file shares the lock: `release` frees it for both, so
   * the parent calls `detach` when the child has it.
   * @param fd the number of the descriptor in this process
   * @throws {LockMismatchError} it is another file than the one at the path, or the lock is held through another one
   * @throws {LockUnsupportedError} a lock folder, which no process inherits
   * @throws {LockDeadlockError} this thread's own code holds the lock already
   * @throws {TypeError} {RangeError} no descriptor's number; system errors: EBADF, there is no such descriptor
   */
  adopt(fd: number): ProcessLockHandle {
    return this.core.adopt(descriptor(fd));
  }

  /** Holds the lock while `fn` runs, until its promise is settled; resolves and rejects with it. */
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.core.with('exclusive', fn, options);
  }
}

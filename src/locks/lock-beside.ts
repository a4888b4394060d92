/** The lock for a file that has content of its own. */
import type { Handle, LockHandle, ProcessLockHandle } from '../core/handle.js';
import type { LockCore } from '../core/lock-core.js';
import { MOST_MOVES, movesTooOften } from '../files/lock-place.js';
import { FollowingWait, MOVED } from '../following-wait.js';
import type { AcquireOptions, InterProcessLockOptions } from '../options.js';
import { Deadline } from '../timers.js';
import { acquireOptions } from '../validate.js';
import { InterProcessLock } from './inter-process-lock.js';

/**
 * The lock that protects `file`, on a lock file beside it, `<file>.lock`: as Python's filelock advises. For files that
 * are replaced when they are saved (a lock on the file itself goes with the old one), for databases (closing the lock's
 * descriptor would drop the database's own locks), for programs (a file that is open for writing cannot be executed).
 *
 * All names of the file, by links, lead to one lock; a link that is pointed elsewhere leads to another from then on, and
 * a holder of the former one is told by `handle.signal`. It excludes Python's `FileLock("<file>.lock")` and `flock
 * <file>.lock`. A process that locks `file` by proper-lockfile makes a folder of that name: the two never both hold,
 * the one that comes second gets an error.
 * @throws what the constructor of `InterProcessLock` throws
 */
export function lockBeside(file: string | URL, options?: InterProcessLockOptions): InterProcessLock {
  return new LockBeside(file, options);
}

/**
 * Its path changes with the links of `file`, and a file that is there no longer tells of that nowhere. So the links are
 * followed before the lock is taken and once more when it is held: 1. A request waits for the lock beside the old file.
 * 2. The link is pointed elsewhere. 3. Another process takes the lock beside the new file. 4. The old lock is granted:
 * it is released, and the request goes on with the new one.
 */
class LockBeside extends InterProcessLock {
  override async acquire(options?: AcquireOptions): Promise<Handle> {
    const { timeout = Infinity, signal, ...rest } = acquireOptions(options);
    const deadline = new Deadline(timeout);
    for (let moves = 0; moves < MOST_MOVES; moves++) {
      const { core } = this;
      const wait = new FollowingWait(signal, () => this.core !== core);
      try {
        const handle = await core.acquire('exclusive', { ...rest, ...deadline.options, signal: wait.signal });
        if (this.core === core) return handle;
        handle.release();
      } catch (error) {
        if (error !== MOVED) throw error;
      } finally {
        wait.end();
      }
    }
    throw movesTooOften(this.path);
  }

  override tryAcquire(): ProcessLockHandle | null {
    return this.#settled((core) => core.tryAcquire('exclusive'));
  }

  override acquireSync(options?: { timeout?: number | undefined }): ProcessLockHandle {
    return this.#settled((core) => core.acquireSync('exclusive', options));
  }

  override async withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.core.with('exclusive', fn, options, () => this.acquire(options));
  }

  protected override get isBeside(): boolean {
    return true;
  }

  /** A folder of that name is proper-lockfile's lock on the file. */
  protected override get directories(): boolean {
    return false;
  }

  #settled<T extends ProcessLockHandle | null>(ask: (core: LockCore) => T): T {
    for (let moves = 0; moves < MOST_MOVES; moves++) {
      const { core } = this;
      const handle = ask(core);
      if (handle === null || this.core === core) return handle;
      handle.release();
    }
    throw movesTooOften(this.path);
  }
}

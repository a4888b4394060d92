/** The lock for a file that has content of its own. */
import { canonicalPath } from '../files/canonical-path.js';
import type { InterProcessLockOptions } from '../options.js';
import { lockPath } from '../validate.js';
import { InterProcessLock } from './inter-process-lock.js';

/**
 * The lock that protects `file`, on a lock file beside it, `<file>.lock`: as Python's filelock advises. For files that
 * are replaced when they are saved (a lock on the file itself goes with the old one), for databases (closing the lock's
 * descriptor would drop the database's own locks), for programs (a file that is open for writing cannot be executed).
 *
 * All names of the file, by links, lead to one lock. It excludes Python's `FileLock("<file>.lock")` and `flock
 * <file>.lock`. A process that locks `file` by proper-lockfile makes a folder of that name: the two never both hold,
 * the one that comes second gets an error.
 * @throws what the constructor of `InterProcessLock` throws
 */
export function lockBeside(file: string | URL, options?: InterProcessLockOptions): InterProcessLock {
  return new LockBeside(`${canonicalPath(lockPath(file), true)}.lock`, options);
}

class LockBeside extends InterProcessLock {
  /** A folder of that name is proper-lockfile's lock on the file. */
  protected override get directories(): boolean {
    return false;
  }
}

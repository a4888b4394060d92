/** The locks of lockutils between processes: a file for each name. */
import { existsSync } from 'node:fs';
import { codeOf, messageOf } from '../errors.js';
import { InterProcessLock, type InterProcessLockOptions } from '../index.js';
import { warnOnce } from '../warnings.js';
import { internalLock } from './internal.js';
import { tell } from './log.js';
import { check, type LockOptions, limitsOf } from './options.js';
import { externalLockFile } from './settings.js';

/**
 * The lock between processes alone, by the same file and the same kind of lock (`fcntl`) as upstream.
 * Where `fcntl` is not available (no addon), the lock falls back to what is, with a warning: it does not exclude Python
 * services then.
 */
export function externalLock(
  name: string,
  options: Pick<LockOptions, 'lockFilePrefix' | 'lockPath' | 'fair'> = {},
): InterProcessLock {
  check(name, options);
  return externalLockOn(externalLockFile(name, options.lockFilePrefix, options.lockPath), {
    fairness: options.fair ? 'auto' : 'kernel',
  });
}

/**
 * Removes the file of an external lock that is not needed any more. Takes the lock first, so that it never makes two
 * holders among processes that check that their file is still there. Python's fasteners does not: a process of it that
 * already waits for the removed file gets the lock of that file. As upstream, a file that cannot be removed is logged
 * (event `not removed`), and no error.
 * @throws {LockTimeoutError} `timeout` ms are over; the reason of `signal`
 */
export async function removeExternalLockFile(
  name: string,
  options: Pick<LockOptions, 'lockFilePrefix' | 'lockPath' | 'semaphores' | 'timeout' | 'signal'> = {},
): Promise<void> {
  check(name, options);
  const path = externalLockFile(name, options.lockFilePrefix, options.lockPath);
  const limits = limitsOf(options);
  const inside = await internalLock(name, options).acquire(limits());
  try {
    if (existsSync(path)) (await externalLockOn(path, { unlinkOnRelease: true }).acquire(limits())).release();
    if (existsSync(path)) tell({ event: 'not removed', name, external: true });
  } catch (error) {
    // As upstream: a file that cannot be removed is logged. Giving up the wait is the caller's own doing.
    if (isAbandoned(error, options)) throw error;
    tell({ event: 'not removed', name, external: true, error: messageOf(error) });
  } finally {
    inside.release();
  }
}

/** `removeExternalLockFile` with a prefix. */
export function removeExternalLockFileWithPrefix(lockFilePrefix: string): typeof removeExternalLockFile {
  return (name, options) => removeExternalLockFile(name, { lockFilePrefix, ...options });
}

function isAbandoned(error: unknown, { signal }: Pick<LockOptions, 'signal'>): boolean {
  return codeOf(error) === 'ERR_LOCK_TIMEOUT' || signal?.aborted === true;
}

function externalLockOn(path: string, options: InterProcessLockOptions): InterProcessLock {
  try {
    return new InterProcessLock(path, { ...options, mechanism: 'fcntl' });
  } catch (error) {
    if (codeOf(error) !== 'ERR_LOCK_UNSUPPORTED') throw error;
    const fallback = new InterProcessLock(path, options);
    warnOnce(
      'FAIRLOCK_NO_FCNTL',
      () =>
        `${messageOf(error)}. External locks use '${fallback.mechanism}' instead, which Python's lockutils ` +
        'and fasteners do not see',
    );
    return fallback;
  }
}

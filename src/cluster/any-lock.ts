/** What the functions of this folder take: the path of a lock file, or a lock. */
import type { InterProcessLock, Lock } from '../index.js';

/** By what it has, not by its class: it may be of another copy of this library, or a third party's. */
export function isLock(value: unknown): value is Lock {
  return typeof value === 'object' && value !== null && 'acquire' in value && 'withLock' in value && 'name' in value;
}

export function isFileLock(lock: Lock | InterProcessLock): lock is InterProcessLock {
  return 'path' in lock && 'mechanism' in lock;
}

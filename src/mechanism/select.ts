/** Which mechanism serves a lock: decided once, when the lock object is made. */
import { LockUnsupportedError } from '../errors.js';
import type { ResolvedLockOptions } from '../options.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { flockCalls, flockMissing } from './flock.js';
import { KernelLock } from './kernel-lock.js';
import { LockfileLock } from './lockfile.js';
import type { Mechanism } from './mechanism.js';

export function selectMechanism(path: string, canonical: string, options: ResolvedLockOptions, queue: FifoQueue): Mechanism {
  if (options.mechanism === 'lockfile') return new LockfileLock(path, canonical, options);
  if (options.mechanism === 'fcntl') throw new LockUnsupportedError(path, "mechanism 'fcntl' is not there yet");
  const calls = flockCalls({ path, ...options });
  if (calls !== undefined) return new KernelLock(path, options, queue, calls);
  if (options.mechanism === 'flock') throw flockMissing(path);
  warnOfFallback(flockMissing(path).message);
  return new LockfileLock(path, canonical, options);
}

let warned = false;

function warnOfFallback(why: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(`${why}. Falling back to lock folders with a heartbeat: a crashed holder keeps the lock until it is stale`, {
    type: 'FairlockWarning',
    code: 'FAIRLOCK_FALLBACK',
  });
}

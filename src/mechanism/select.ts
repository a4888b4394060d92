/** Which mechanism serves a lock: decided once, when the lock object is made. */
import { LockUnsupportedError } from '../errors.js';
import type { ResolvedLockOptions } from '../options.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { overlapsHeld } from '../queue/registry.js';
import { fcntlCalls, flockCalls } from './kernel-calls.js';
import { KernelLock } from './kernel-lock.js';
import { LockfileLock } from './lockfile.js';
import type { Mechanism } from './mechanism.js';

export function selectMechanism(path: string, canonical: string, options: ResolvedLockOptions, queue: FifoQueue): Mechanism {
  const file = { path, ...options };
  if (options.mechanism === 'lockfile') return new LockfileLock(path, canonical, options);
  if (options.mechanism === 'fcntl') {
    return new KernelLock(path, options, queue, fcntlCalls(file, options.range), () => overlapsHeld(canonical, options.range));
  }
  try {
    return new KernelLock(path, options, queue, flockCalls(file));
  } catch (error) {
    if (options.mechanism === 'flock' || !(error instanceof LockUnsupportedError)) throw error;
    warnOfFallback(error.message);
    return new LockfileLock(path, canonical, options);
  }
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

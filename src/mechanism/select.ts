/** Which mechanism serves a lock: decided once, when the lock object is made. */
import { loadNativeFallback } from '../binding/native-fallback.js';
import { LockUnsupportedError } from '../errors.js';
import { ticketQueueOf } from '../fairness/ticket-queue.js';
import type { ResolvedLockOptions } from '../options.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { overlapsHeld } from '../queue/registry.js';
import { fcntlCalls, fifoCalls, flockCalls } from './kernel-calls.js';
import { KernelLock } from './kernel-lock.js';
import { LockfileLock } from './lockfile.js';
import type { Mechanism } from './mechanism.js';

export function selectMechanism(path: string, canonical: string, options: ResolvedLockOptions, queue: FifoQueue): Mechanism {
  const mechanism = byName(path, canonical, options, queue);
  if (options.fairness === 'kernel') return mechanism;
  const why = whyNotFifo(mechanism, options);
  if (why === undefined) return inStrictOrder(mechanism as KernelLock, canonical, options, queue);
  if (options.fairness === 'auto') return mechanism;
  throw new LockUnsupportedError(path, `fairness 'fifo' ${why}`);
}

function whyNotFifo(mechanism: Mechanism, options: ResolvedLockOptions): string | undefined {
  const { api: addon, reason } = loadNativeFallback();
  if (options.range !== undefined) return 'cannot be had with range';
  if (!(mechanism instanceof KernelLock)) return `cannot be had with mechanism '${mechanism.name}'`;
  if (addon === undefined) return `needs the addon native-fallback, which did not load: ${reason}`;
  if (process.platform !== 'linux' || !addon.hasOfd) return `needs Linux's open-file-description locks, which ${process.platform} does not have`;
  return undefined;
}

function inStrictOrder(kernel: KernelLock, canonical: string, options: ResolvedLockOptions, queue: FifoQueue): KernelLock {
  const { addon } = kernel.calls;
  if (addon === undefined) return kernel;
  const tickets = ticketQueueOf(queue, canonical, options.mode, addon);
  return new KernelLock(kernel.path, options, queue, fifoCalls(kernel.calls, addon, tickets, kernel.path, options.unlinkOnRelease));
}

function byName(path: string, canonical: string, options: ResolvedLockOptions, queue: FifoQueue): Mechanism {
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

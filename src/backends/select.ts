/** Which mechanism serves a lock: decided once, when the lock object is made. */

import type { Mechanism } from '../core/backend.js';
import type { FifoQueue } from '../core/fifo-queue.js';
import { codeOf, LockUnsupportedError, messageOf } from '../errors.js';
import { loadNativeFallback } from '../native/addon.js';
import type { InternalLockOptions } from '../options.js';
import { ticketQueueOf } from './fifo/ticket-queue.js';
import { KernelLock } from './kernel/kernel-backend.js';
import { fcntlCalls, fifoCalls, flockCalls } from './kernel/lock-calls.js';
import { LockfileLock } from './lockfile/lockfile-backend.js';
import { overlapsHeld } from './path-registry.js';

export function selectMechanism(
  path: string,
  canonical: string,
  options: InternalLockOptions,
  queue: FifoQueue,
): Mechanism {
  const mechanism = byName(path, canonical, options, queue);
  if (options.fairness === 'kernel') return mechanism;
  const why = whyNotFifo(mechanism, options);
  if (why === undefined) return inStrictOrder(mechanism as KernelLock, canonical, options, queue);
  if (options.fairness === 'auto') return mechanism;
  throw new LockUnsupportedError(path, `fairness 'fifo' ${why}`);
}

function whyNotFifo(mechanism: Mechanism, options: InternalLockOptions): string | undefined {
  const { api: addon, reason } = loadNativeFallback();
  if (options.range !== undefined) return 'is not available with range';
  if (!(mechanism instanceof KernelLock)) {
    if (options.mechanism === 'auto') return `needs a native layer, and none loads: ${reason ?? 'see layers()'}`;
    return `is not available with mechanism '${mechanism.name}'`;
  }
  if (addon === undefined) return `needs the addon native-fallback, which did not load: ${reason}`;
  if (process.platform !== 'linux' || !addon.hasOfd)
    return `needs Linux's open-file-description locks, which ${process.platform} does not have`;
  return undefined;
}

function inStrictOrder(
  kernel: KernelLock,
  canonical: string,
  options: InternalLockOptions,
  queue: FifoQueue,
): KernelLock {
  const { addon } = kernel.calls;
  if (addon === undefined) return kernel;
  const tickets = ticketQueueOf(queue, canonical, { ...options, path: kernel.path }, addon);
  const how = { path: kernel.path, unlinks: options.unlinkOnRelease, optional: options.fairness === 'auto' };
  return new KernelLock(kernel.path, options, queue, fifoCalls(kernel.calls, addon, tickets, how), kernel.overlapsHeld);
}

function byName(path: string, canonical: string, options: InternalLockOptions, queue: FifoQueue): Mechanism {
  const file = { path, ...options };
  if (options.mechanism === 'lockfile') return new LockfileLock(path, canonical, options);
  if (options.mechanism === 'fcntl') {
    return new KernelLock(path, options, queue, fcntlCalls(file, options.range), () =>
      overlapsHeld(canonical, options.range),
    );
  }
  try {
    return new KernelLock(path, options, queue, flockCalls(file));
  } catch (error) {
    if (options.mechanism === 'flock' || codeOf(error) !== 'ERR_LOCK_UNSUPPORTED') throw error;
    warnOfFallback(messageOf(error));
    return new LockfileLock(path, canonical, options);
  }
}

let warned = false;

function warnOfFallback(why: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(
    `${why}. Falling back to lock folders with a heartbeat: a crashed holder keeps the lock until it is stale`,
    {
      type: 'FairlockWarning',
      code: 'FAIRLOCK_FALLBACK',
    },
  );
}

/** Which backend serves a lock: decided once, when the lock object is made. */
import type { Backend } from '../core/backend.js';
import { codeOf, LockUnsupportedError, messageOf } from '../errors.js';
import type { LockFileOptions } from '../files/lock-file.js';
import type { LockPlace } from '../files/lock-place.js';
import { loadLocks } from '../native/addon.js';
import type { InternalLockOptions } from '../options.js';
import { printable } from '../printable.js';
import { warnOnce } from '../warnings.js';
import { fcntl } from './kernel/fcntl.js';
import { flock } from './kernel/flock.js';
import { KernelBackend } from './kernel/kernel-backend.js';
import { KernelLock } from './kernel/kernel-lock.js';
import type { Mechanism } from './kernel/mechanism.js';
import { LockfileBackend } from './lockfile/lockfile-backend.js';
import { ProcessOrder } from './order/process-order.js';
import { Sidecar } from './order/sidecar.js';
import { TicketQueue } from './order/ticket-queue.js';
import type { PathState } from './path-state.js';

/** @throws {LockUnsupportedError} what was asked for by name is not available */
export function selectBackend(place: LockPlace, options: InternalLockOptions, state: PathState): Backend {
  const { path } = place;
  const file = { ...options, path };
  const mechanism = kernelMechanism(file, options);
  const whyNot = options.fairness === 'kernel' ? undefined : whyNotFifo(mechanism, options);
  if (options.fairness === 'fifo' && whyNot !== undefined)
    throw new LockUnsupportedError(path, `fairness 'fifo' ${whyNot}`);
  if (mechanism === undefined) return new LockfileBackend(place, options);
  const order = processOrder(file, whyNot === undefined ? options.fairness : 'kernel', state, place);
  return new KernelBackend(new KernelLock(place, options, state, mechanism, order), state);
}

/** Undefined: the lockfile. */
function kernelMechanism(file: LockFileOptions, options: InternalLockOptions): Mechanism | undefined {
  if (options.mechanism === 'lockfile') return undefined;
  if (options.mechanism === 'fcntl') return fcntl(file, options.range);
  try {
    return flock(file);
  } catch (error) {
    if (options.mechanism === 'flock' || codeOf(error) !== 'ERR_LOCK_UNSUPPORTED') throw error;
    warnOfFallback(printable(messageOf(error)));
    return undefined;
  }
}

function whyNotFifo(mechanism: Mechanism | undefined, options: InternalLockOptions): string | undefined {
  const { api: addon, reason } = loadLocks();
  if (options.range !== undefined) return 'is not available with range';
  if (mechanism === undefined) {
    if (options.mechanism === 'auto') return `needs a native layer, and none loads: ${reason ?? 'see layers()'}`;
    return `is not available with mechanism '${options.mechanism}'`;
  }
  if (addon === undefined) return `needs the addon native-fallback, which did not load: ${reason}`;
  if (!addon.hasOfd) return `needs open-file-description locks, which this ${process.platform} does not have`;
  return undefined;
}

/** The order of a lock's requests between processes. */
export function processOrder(
  file: LockFileOptions,
  fairness: 'kernel' | 'fifo' | 'auto',
  state: PathState,
  place: LockPlace,
): ProcessOrder {
  const { api: addon } = loadLocks();
  if (fairness === 'kernel' || addon === undefined) return new ProcessOrder(undefined, false, place);
  const queue = state.tickets(() => new TicketQueue(new Sidecar(state.name.path, file, addon)));
  return new ProcessOrder(queue, fairness === 'auto', place);
}

function warnOfFallback(why: string): void {
  const consequence = 'a crashed holder keeps the lock until it is stale';
  warnOnce('FAIRLOCK_FALLBACK', () => `${why}. Falling back to lock folders with a heartbeat: ${consequence}`);
}

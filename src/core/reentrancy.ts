/**
 * What the running async context holds. A context is the function given to `withLock` and all it calls; a bare
 * `acquire()` makes none, since code that runs beside its caller cannot be told from the caller.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { FifoQueue } from './fifo-queue.js';
import type { Hold } from './handle.js';

interface Frame {
  readonly queue: FifoQueue;
  readonly hold: Hold;
  readonly outer: Frame | undefined;
}

const frames = new AsyncLocalStorage<Frame>();

export const WAITS_FOR_ITSELF =
  'this async context holds the lock itself, and waits for its own release (see the option reentrant)';

export function runHolding<T>(queue: FifoQueue, hold: Hold, fn: () => T): T {
  return frames.run({ queue, hold, outer: frames.getStore() }, fn);
}

/** The running context, if there is one. */
export function contextHere(): object | undefined {
  return frames.getStore();
}

/** What the running context holds of a queue's lock, if it still does. */
export function heldHere(queue: FifoQueue): Hold | undefined {
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.outer) {
    if (frame.queue === queue && frame.hold.handles > 0) return frame.hold;
  }
  return undefined;
}

let hasWarned = false;

/** Once: not every such wait is for ever, since another context may release the lock. */
export function warnOfSelfWait(path: string | undefined): void {
  if (hasWarned) return;
  hasWarned = true;
  const what = path === undefined ? 'an in-process lock' : `the lock '${path}'`;
  process.emitWarning(`acquiring ${what}: ${WAITS_FOR_ITSELF}`, {
    type: 'FairlockWarning',
    code: 'FAIRLOCK_SELF_WAIT',
  });
}

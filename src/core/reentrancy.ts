/**
 * What the running async context holds. A context is the function given to `withLock` and all it calls; a bare
 * `acquire()` makes none, since code that runs beside its caller cannot be told from the caller.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { nameOf, warnOnce } from '../warnings.js';
import type { FifoQueue } from './fifo-queue.js';
import type { Hold } from './hold.js';

interface Frame {
  readonly hold: Hold;
  outer: Frame | undefined;
}

const frames = new AsyncLocalStorage<Frame>();

export const WAITS_FOR_ITSELF =
  'this async context holds the lock itself, and waits for its own release (see the option reentrant)';

export function runHolding<T>(hold: Hold, fn: () => T): T {
  return frames.run({ hold, outer: here() }, fn);
}

/** The running context, if there is one that still holds. */
export function contextHere(): object | undefined {
  return here();
}

/** What the running context holds of a queue's lock, if it still does. */
export function heldHere(queue: FifoQueue): Hold | undefined {
  for (let frame = here(); frame !== undefined; frame = frame.outer) if (frame.hold.queue === queue) return frame.hold;
  return undefined;
}

/**
 * The innermost frame that still holds; those that have ended are unlinked on the way. A job that plans its next run
 * while it holds (`setTimeout` in `withLock`) begins each run in the context of the one before: without that the frames
 * of all runs would be kept, and walked through at each request.
 */
function here(): Frame | undefined {
  const first = stillHolding(frames.getStore());
  for (let frame = first; frame !== undefined; frame = frame.outer) frame.outer = stillHolding(frame.outer);
  return first;
}

function stillHolding(frame: Frame | undefined): Frame | undefined {
  let one = frame;
  while (one !== undefined && one.hold.handles === 0) one = one.outer;
  return one;
}

/** Once: not every such wait is for ever, since another context may release the lock. */
export function warnOfSelfWait(path: string | undefined): void {
  warnOnce('FAIRLOCK_SELF_WAIT', () => `acquiring ${nameOf(path)}: ${WAITS_FOR_ITSELF}`);
}

/** The timers of a queue, so that tests can turn the clock by hand. */
import { clearTimeout, setTimeout } from '../timers.js';

export interface Clock {
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** The real timers, whatever the globals are at the moment: see timers.ts. */
export const systemClock: Clock = {
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  now: () => Date.now(),
};

/** Node fires a timer of more than this many ms at once. */
const LONGEST = 2 ** 31 - 1;

/** Calls back after `ms`, however long that is. Returns what calls it off. */
export function after(clock: Clock, ms: number, callback: () => void): () => void {
  let timer: unknown;
  const arm = (left: number): void => {
    timer = clock.setTimeout(left > LONGEST ? () => arm(left - LONGEST) : callback, Math.min(left, LONGEST));
  };
  arm(ms);
  return () => clock.clearTimeout(timer);
}

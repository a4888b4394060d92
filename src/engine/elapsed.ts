/** Time that passes also while the machine sleeps. */
import { uptime } from 'node:os';
import { monotonic } from '../timers.js';

/** A moment, to measure from. */
export interface Moment {
  readonly monotonic: number;
  readonly uptime: number;
}

/** `os.uptime()` opens a file: for moments one that was read so many ms ago will do. */
const FRESH_MS = 20;

let last: Moment = { monotonic: Number.NEGATIVE_INFINITY, uptime: 0 };

/**
 * Where the machine has slept since `os.uptime()` was read, the moment seems to be earlier than it was: more time has
 * passed since then than is so, which is the safe side.
 */
export function now(): Moment {
  const at = monotonic();
  const age = at - last.monotonic;
  return age < FRESH_MS ? { monotonic: at, uptime: last.uptime + age } : read();
}

/** Milliseconds since then: of the two clocks the one that says more. Only `os.uptime()` counts while suspended. */
export function elapsed(since: Moment): number {
  const at = read();
  return Math.max(at.monotonic - since.monotonic, at.uptime - since.uptime);
}

function read(): Moment {
  last = { monotonic: monotonic(), uptime: uptime() * 1000 };
  return last;
}

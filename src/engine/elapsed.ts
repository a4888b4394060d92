/** Time that passes also while the machine sleeps. */
import { uptime } from 'node:os';
import { monotonic } from '../timers.js';

/** A moment, to measure from. */
export interface Moment {
  readonly monotonic: number;
  readonly uptime: number;
}

export function now(): Moment {
  return { monotonic: monotonic(), uptime: uptime() * 1000 };
}

/** Milliseconds since then: of the two clocks the one that says more. Only `os.uptime()` counts while suspended. */
export function elapsed(since: Moment): number {
  const at = now();
  return Math.max(at.monotonic - since.monotonic, at.uptime - since.uptime);
}

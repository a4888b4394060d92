/**
 * The timers and the clock of this library. Taken when the library is loaded and from node:timers, so that fake timers
 * of a test, or the numeric timers of a browser-like environment (jsdom, Electron), do not stop it: other processes,
 * which a request waits for, live in real time.
 */
import timers from 'node:timers';

export const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } = timers;

/** node:perf_hooks, which has the same clock, takes two milliseconds to load. */
const { hrtime } = process;

/** Milliseconds, from some moment on. */
export function monotonic(): number {
  const [seconds, nanoseconds] = hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

/** The end of a time that begins now. */
export class Deadline {
  readonly #end: number;

  /** @param ms may be Infinity */
  constructor(ms: number) {
    this.#end = monotonic() + ms;
  }

  /** Milliseconds until then; 0 from then on. */
  get left(): number {
    return Math.max(0, this.#end - monotonic());
  }

  /** The options of a request that is to end by then. */
  get options(): { timeout?: number } {
    return this.#end === Infinity ? {} : { timeout: this.left };
  }
}

/** Milliseconds, each twice the one before; with jitter, so that waiters that failed together do not come back together. */
export function* growingDelays(first: number, longest: number): Generator<number, never> {
  for (let delay = first; ; delay = Math.min(delay * 2, longest)) yield delay * (0.5 + Math.random() / 2);
}

/** A timer that keeps no process alive. Where timers are numbers there is nothing to unref. */
export function unref<T>(timer: T): T {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}

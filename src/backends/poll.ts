/** Waiting where no kernel queue can be joined: trying again after 1 ms, growing to 50 ms, with jitter. */
import type { Done, Grant, PendingAcquire } from '../core/backend.js';
import { clearTimeout, Deadline, growingDelays, setTimeout } from '../timers.js';

const backOff = (): Generator<number, never> => growingDelays(1, 50);

/** Returns a function that ends it. */
export function poll(tryAcquire: () => Grant | null, done: Done): () => void {
  const delays = backOff();
  let timer: NodeJS.Timeout;
  const attempt = (): void => {
    let grant: Grant | null;
    try {
      grant = tryAcquire();
    } catch (error) {
      return done(error);
    }
    if (grant === null) arm();
    else done(undefined, grant);
  };
  const arm = (): void => {
    timer = setTimeout(attempt, delays.next().value);
  };
  arm();
  return () => clearTimeout(timer);
}

/** A request of a backend that cannot wait otherwise. */
export class PollingRequest implements PendingAcquire {
  #end: () => void = () => {};

  constructor(private readonly tryAcquire: () => Grant | null) {}

  start(done: Done, justTried: boolean): void {
    let grant: Grant | null;
    try {
      grant = justTried ? null : this.tryAcquire();
    } catch (error) {
      return done(error);
    }
    if (grant === null) this.#end = poll(this.tryAcquire, done);
    else done(undefined, grant);
  }

  cancel(): void {
    this.#end();
  }
}

/** Blocks the thread. In a Worker, `terminate()` interrupts it. */
export function pollSync<T>(tryAcquire: () => T | null, timeout: number): T | null {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const deadline = new Deadline(timeout);
  for (const delay of backOff()) {
    const { left } = deadline;
    if (left === 0) return null;
    Atomics.wait(cell, 0, 0, Math.min(delay, left));
    const got = tryAcquire();
    if (got !== null) return got;
  }
  throw new Error('unreachable: the delays never end');
}

/** Waiting where no kernel queue can be stood in: try again after 1 ms, growing to 50 ms, with jitter. */

import type { Grant, Granted } from '../core/backend.js';
import { clearTimeout, setTimeout } from '../timers.js';

const FIRST_MS = 1;
const LONGEST_MS = 50;

export function poll(tryLock: () => Grant | null, granted: Granted): () => void {
  const delays = backOff();
  let timer: NodeJS.Timeout;
  const attempt = (): void => {
    let grant: Grant | null;
    try {
      grant = tryLock();
    } catch (error) {
      return granted(error as Error);
    }
    if (grant === null) arm();
    else granted(undefined, grant);
  };
  const arm = (): void => {
    timer = setTimeout(attempt, delays.next().value);
  };
  arm();
  return () => clearTimeout(timer);
}

/** Blocks the thread. In a Worker, `terminate()` interrupts it. */
export function pollSync(tryLock: () => Grant | null, timeout: number): Grant | null {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const end = performance.now() + timeout;
  for (const delay of backOff()) {
    const left = end - performance.now();
    if (left <= 0) return null;
    Atomics.wait(cell, 0, 0, Math.min(delay, left));
    const grant = tryLock();
    if (grant !== null) return grant;
  }
  throw new Error('unreachable: the delays never end');
}

/** Jitter, so that waiters that were turned away together do not come back together. */
function* backOff(): Generator<number, never> {
  for (let delay = FIRST_MS; ; delay = Math.min(delay * 2, LONGEST_MS)) yield delay * (0.5 + Math.random() / 2);
}

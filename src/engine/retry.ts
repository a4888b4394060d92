/** Waiting between tries, which an abort ends. */
import { onAbort } from '../abort.js';
import { clearInterval, clearTimeout, setInterval, setTimeout } from '../timers.js';

const FIRST_MS = 100;
const LONGEST_MS = 1000;

/** 100 ms, growing to a second, with jitter. */
export function* backOff(): Generator<number, never> {
  for (let delay = FIRST_MS; ; delay = Math.min(delay * 2, LONGEST_MS)) yield delay * (0.5 + Math.random() / 2);
}

/** Resolves after `ms`, or when one of the signals is aborted. */
export function pause(ms: number, ...signals: AbortSignal[]): Promise<void> {
  if (signals.some(({ aborted }) => aborted)) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms);
    const endWatches = signals.map((signal) => onAbort(signal, end));
    function end(): void {
      clearTimeout(timer);
      for (const endWatch of endWatches) endWatch();
      resolve();
    }
  });
}

let pending = 0;
let keeper: ReturnType<typeof setInterval> | undefined;

/** Keeps the process alive until the promise is settled: connections do not. */
export async function keepingAlive<T>(promise: Promise<T>): Promise<T> {
  pending++;
  keeper ??= setInterval(() => {}, 2 ** 30);
  try {
    return await promise;
  } finally {
    pending--;
    if (pending === 0) {
      clearInterval(keeper);
      keeper = undefined;
    }
  }
}

/** The promise, or a rejection after `ms`. */
export function within<T>(ms: number, promise: Promise<T>, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), ms);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** Waiting between tries, which an abort ends. */
import { onAbort } from '../abort.js';
import { clearTimeout, growingDelays, setTimeout } from '../timers.js';

/** Between tries of a service that is out: 100 ms, growing to a second. */
export const backOff = (): Generator<number, never> => growingDelays(100, 1000);

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

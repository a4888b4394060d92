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

export interface Outages {
  readonly signal: AbortSignal;
  /** Told of each error for which it goes on. */
  readonly trouble: (error: unknown) => void;
  /** Whether waiting does not repair it. */
  readonly isHopeless: (error: unknown) => boolean;
  /** What an error is told as. */
  readonly told: (error: unknown) => unknown;
}

/** Attempts until one comes to something, with pauses after those that fail. @throws the reason of the signal */
export async function throughOutages<T>(attempt: () => Promise<T | undefined>, outages: Outages): Promise<T> {
  const { signal, trouble, isHopeless, told } = outages;
  for (const delay of backOff()) {
    try {
      const result = await attempt();
      if (result !== undefined) return result;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (isHopeless(error)) throw told(error);
      trouble(told(error));
      await pause(delay, signal);
    }
    if (signal.aborted) throw signal.reason;
  }
  throw new Error('unreachable: the delays never end');
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

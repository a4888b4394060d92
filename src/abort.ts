/**
 * Abort signals: this realm's, another one's (Jest, vm), or those of a polyfill that knows neither `reason` nor
 * `throwIfAborted`.
 */
import { keepAlive } from './keep-alive.js';

export function isAbortSignal(value: unknown): value is AbortSignal {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'addEventListener' in value &&
    'removeEventListener' in value
  );
}

export function abortReason(signal: AbortSignal): unknown {
  // Whatever it is, null too; undefined only of a signal that knows no reasons.
  return signal.reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : signal.reason;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortReason(signal);
}

interface Listening {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
  /** See `sourcesOf`. */
  readonly sources: unknown[];
}

/**
 * What an `AbortSignal.any([…])` follows. Node 20 refers to it weakly from there, and weakly from the timer of an
 * `AbortSignal.timeout()`: it would be collected, and the signal never aborted (nodejs/node issue 54614). Node 22 keeps
 * it by itself.
 */
function sourcesOf(signal: AbortSignal): unknown[] {
  const key = Object.getOwnPropertySymbols(signal).find(({ description }) => description === 'kSourceSignals');
  const sources: unknown = key === undefined ? undefined : (signal as unknown as Record<symbol, unknown>)[key];
  if (typeof sources !== 'object' || sources === null || !(Symbol.iterator in sources)) return [];
  return Array.from(sources as Iterable<{ deref?: () => unknown }>, (one) => one.deref?.() ?? one);
}

/** One listener for each signal: a thousand waits with one signal must not make Node warn of a leak. */
const listening = new WeakMap<AbortSignal, Listening>();

/** Calls back once if the signal is aborted. Returns what ends that. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks } = listening.get(signal) ?? listen(signal);
  // A wait that its signal can end keeps the process alive: the timer of `AbortSignal.timeout()` does not, and the process
  // would end before it fires. A callback may be given twice.
  const entry = (): void => callback();
  callbacks.add(entry);
  keepAlive(1);
  return () => {
    if (!callbacks.delete(entry)) return;
    keepAlive(-1);
    if (callbacks.size === 0) unlisten(signal);
  };
}

function listen(signal: AbortSignal): Listening {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    unlisten(signal);
    for (const callback of [...callbacks]) {
      if (!callbacks.delete(callback)) continue; // Ended by one before it.
      keepAlive(-1);
      callback();
    }
  };
  const fresh = { callbacks, listener, sources: sourcesOf(signal) };
  signal.addEventListener('abort', listener);
  // As long as the signal lives, which Node sees to while it has a listener, its sources do.
  listening.set(signal, fresh);
  return fresh;
}

function unlisten(signal: AbortSignal): void {
  const known = listening.get(signal);
  if (known === undefined) return;
  listening.delete(signal);
  signal.removeEventListener('abort', known.listener);
}

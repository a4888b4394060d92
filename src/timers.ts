/**
 * The timers that this library keeps house with. Taken when the library is loaded and from node:timers, so that fake
 * timers of a test, or the numeric timers of a browser-like environment (jsdom, Electron), do not stop it.
 */
import * as timers from 'node:timers';

export const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } = timers;

/** A timer that keeps no process alive. Where timers are numbers there is nothing to unref. */
export function unref<T>(timer: T): T {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}

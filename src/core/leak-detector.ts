/**
 * Warns of handles that are garbage-collected while they hold. The lock stays held: the code that it protects may run
 * still, and unlocking would admit a second holder.
 */
import { setTimeout, unref } from '../timers.js';
import { nameOf, warn } from '../warnings.js';
import type { Hold } from './hold.js';

export interface Leakable {
  readonly released: boolean;
  readonly hold: Hold;
  /** Whether `collected` knows it. */
  leakWatched: boolean;
}

const collected = new FinalizationRegistry<Hold>((hold) => {
  leaked.add(hold);
  warn(
    'FAIRLOCK_HANDLE_LOST',
    `A handle of ${nameOf(hold.path)} was garbage-collected without release(). The lock stays held until the process ` +
      "(or Worker) ends. Use withLock(), 'using' or try/finally.",
  );
});

/** They stay for ever: their queues must not be forgotten, or new ones would take the lock for free. */
const leaked = new Set<Hold>();

/**
 * To register every handle would cost as much as locking does. So a handle is registered some time later, if it still
 * holds: until then this list refers to it, and it cannot be collected.
 */
const fresh: Leakable[] = [];
const MOST_FRESH = 256;
const REGISTER_AFTER_MS = 100;
let isScheduled = false;

export function watchForLeak(handle: Leakable): void {
  if (fresh.push(handle) > MOST_FRESH) registerFresh();
  else if (!isScheduled) {
    isScheduled = true;
    unref(setTimeout(registerFresh, REGISTER_AFTER_MS));
  }
}

export function endLeakWatch(handle: Leakable): void {
  if (handle.leakWatched) collected.unregister(handle);
  else if (fresh.at(-1) === handle) fresh.pop();
}

function registerFresh(): void {
  isScheduled = false;
  for (const handle of fresh.splice(0)) {
    if (handle.released) continue;
    handle.leakWatched = true;
    collected.register(handle, handle.hold, handle);
  }
}

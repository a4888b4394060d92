/** Waits for a lock whose path leads elsewhere when a link is pointed elsewhere, and whose old file does not tell. */
import { abortReason, onAbort } from './abort.js';
import { clearInterval, setInterval, unref } from './timers.js';

/** How often, in ms, a wait looks where the links lead: the lock beside the old file may be held for long. */
const LOOK_MS = 1000;
/** Why such a wait ended: the path leads elsewhere now, and the lock there is another one. */
export const MOVED = Symbol('moved');

/** A wait that ends with MOVED when the links lead elsewhere, or as the caller's signal says. */
export class FollowingWait {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #endWatch: () => void = () => {};

  constructor(given: AbortSignal | undefined, hasMoved: () => boolean) {
    this.#timer = unref(setInterval(() => hasMoved() && this.#controller.abort(MOVED), LOOK_MS));
    if (given?.aborted) this.#controller.abort(abortReason(given));
    else if (given !== undefined) this.#endWatch = onAbort(given, () => this.#controller.abort(abortReason(given)));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#endWatch();
  }
}

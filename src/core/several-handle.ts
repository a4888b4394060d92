/** Several locks that are held as one. */
import type { InspectOptions, inspect } from 'node:util';
import type { LockHandle } from './handle.js';
import { INSPECT, inspectAs } from './inspected.js';

/** Code that keeps only the signal keeps the handles. */
const handlesOf = new WeakMap<AbortSignal, readonly LockHandle[]>();

/** Aborted when the first of them is lost. Not by `AbortSignal.any`, which refers to the signals weakly. */
export function signalOfAny(handles: readonly LockHandle[]): AbortSignal {
  const controller = new AbortController();
  handlesOf.set(controller.signal, handles);
  for (const { signal } of handles) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener('abort', () => controller.abort(signal.reason), { once: true });
  }
  return controller.signal;
}

/** In reverse: what was acquired last is released first. */
export function releaseAll(handles: readonly LockHandle[]): void {
  for (const handle of [...handles].reverse()) handle.release();
}

export class SeveralHandle implements LockHandle {
  readonly #held: readonly LockHandle[];
  readonly #release: () => void;
  readonly #withDescriptor: LockHandle | undefined;
  #signal: AbortSignal | undefined;

  /**
   * @param held in the order in which they were acquired
   * @param withDescriptor the one of them whose `fd` a child may inherit
   * @param onRelease called once
   */
  constructor(held: readonly LockHandle[], withDescriptor?: LockHandle, onRelease: () => void = () => {}) {
    this.#held = held;
    this.#withDescriptor = withDescriptor;
    this.#release = () => {
      if (this.released) return;
      releaseAll(held);
      onRelease();
    };
  }

  get shared(): boolean {
    return false;
  }

  get fd(): number | undefined {
    return this.#withDescriptor?.fd;
  }

  get release(): () => void {
    return this.#release;
  }

  get released(): boolean {
    return this.#held.every(({ released }) => released);
  }

  get signal(): AbortSignal {
    this.#signal ??= signalOfAny(this.#held);
    return this.#signal;
  }

  check(): void {
    for (const handle of this.#held) handle.check();
  }

  toJSON(): object {
    return { locks: this.#held, released: this.released };
  }

  [INSPECT](_depth: number, options: InspectOptions, util?: typeof inspect): string {
    return inspectAs(this.toJSON(), 'LockHandle', options, util);
  }

  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

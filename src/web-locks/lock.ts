/** What a callback is given, and proof that it was the lock manager that gave it. */

export type LockMode = 'exclusive' | 'shared';

/** Code that has it may make locks. */
export const MAKER: unique symbol = Symbol('LockManager');

/** A lock that is held: https://www.w3.org/TR/web-locks/#api-lock */
export class Lock {
  readonly #name: string;
  readonly #mode: LockMode;
  readonly #signal: AbortSignal;

  /** @internal As in the standard, its `length` is 0. */
  constructor(...made: [maker: typeof MAKER, name: string, mode: LockMode, signal: AbortSignal]) {
    const [maker, name, mode, signal] = made;
    if (maker !== MAKER) throw new TypeError('Illegal constructor');
    this.#name = name;
    this.#mode = mode;
    this.#signal = signal;
  }

  get name(): string {
    return this.#name;
  }

  get mode(): LockMode {
    return this.#mode;
  }

  /**
   * Not in the standard, and so not enumerable: aborted when the lock is stolen, or lost because its file was removed.
   */
  get signal(): AbortSignal {
    return this.#signal;
  }
}

for (const name of ['name', 'mode'] as const) Object.defineProperty(Lock.prototype, name, { enumerable: true });
Object.defineProperty(Lock.prototype, Symbol.toStringTag, { value: 'Lock', configurable: true });

/** The loss of a lock that a service has granted: it is told once, and not after the release. */
import { LockLostError } from '../errors.js';

export class Loss {
  readonly #listeners = new Set<(error: LockLostError) => void>();
  #error: LockLostError | undefined;
  #isReleased = false;

  constructor(
    private readonly name: string,
    /** Called when it is lost, before the listeners are. */
    private readonly whenLost: () => void = () => {},
  ) {}

  get error(): LockLostError | undefined {
    return this.#error;
  }

  /** From now on it cannot be lost. */
  released(): void {
    this.#isReleased = true;
    this.#listeners.clear();
  }

  lose(why: string): void {
    if (this.#error !== undefined || this.#isReleased) return;
    this.#error = new LockLostError(this.name, why);
    this.whenLost();
    for (const listener of [...this.#listeners]) listener(this.#error);
    this.#listeners.clear();
  }

  /** @throws {LockLostError} it is lost */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** As `EngineGrant.onLost`. */
  onLost(listener: (error: LockLostError) => void): () => void {
    if (this.#error !== undefined) listener(this.#error);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

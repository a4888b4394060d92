/** A lock that a service has granted, as every engine of this package has it: lost once, or released once. */
import { LockEngineError, LockLostError, messageOf } from '../errors.js';
import type { EngineGrant } from './engine.js';

export abstract class ServiceGrant implements EngineGrant {
  abstract readonly token: number;
  readonly #listeners = new Set<(error: LockLostError) => void>();
  #error: LockLostError | undefined;
  #released: Promise<void> | undefined;

  constructor(
    /** Of the lock. */
    protected readonly name: string,
  ) {}

  get isLost(): boolean {
    return this.#error !== undefined;
  }

  get isReleased(): boolean {
    return this.#released !== undefined;
  }

  /** From now on it cannot be lost. */
  release(): Promise<void> {
    this.#listeners.clear();
    this.#released ??= this.leave();
    return this.#released;
  }

  check(): void {
    if (!this.isReleased) this.look();
    if (this.#error !== undefined) throw this.#error;
  }

  async verify(): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    try {
      await this.ask();
    } catch (error) {
      throw this.#error ?? new LockEngineError(this.name, messageOf(error), error);
    }
    this.check();
  }

  onLost(listener: (error: LockLostError) => void): () => void {
    if (this.#error !== undefined) listener(this.#error);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** It is told once, and not after the release. */
  lost(why: string): void {
    if (this.#error !== undefined || this.isReleased) return;
    this.#error = new LockLostError(this.name, why);
    this.whenLost();
    for (const listener of [...this.#listeners]) listener(this.#error);
    this.#listeners.clear();
  }

  /** Releases it. Never rejects. */
  protected abstract leave(): Promise<void>;
  /** Asks the service, and calls `lost` where it does not know the lock. @throws there is no answer */
  protected abstract ask(): Promise<void>;
  /** Calls `lost` where this machine's clock says so. */
  protected look(): void {}
  /** Before the listeners are told. */
  protected whenLost(): void {}
}

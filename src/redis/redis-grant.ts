/** A lock of Redis that is held. */
import type { EngineGrant } from '../engine/engine.js';
import { LockEngineError, LockLostError, messageOf } from '../errors.js';
import type { Entry, Sessions } from './sessions.js';

export class RedisGrant implements EngineGrant {
  readonly #listeners = new Set<(error: LockLostError) => void>();
  #loss: LockLostError | undefined;
  #released: Promise<void> | undefined;

  constructor(
    private readonly name: string,
    private readonly entry: Entry,
    private readonly sessions: Sessions,
    private readonly leave: () => Promise<void>,
  ) {}

  get token(): number {
    return this.entry.token as number;
  }

  release(): Promise<void> {
    this.#listeners.clear();
    this.#released ??= this.leave();
    return this.#released;
  }

  check(): void {
    if (this.#loss === undefined && this.sessions.isLate(this.entry)) this.lost('it was not renewed in time');
    if (this.#loss !== undefined) throw this.#loss;
  }

  async verify(): Promise<void> {
    this.check();
    try {
      await this.sessions.renewOne(this.entry);
    } catch (error) {
      throw new LockEngineError(this.name, messageOf(error), error);
    }
    this.check();
  }

  onLost(listener: (error: LockLostError) => void): () => void {
    if (this.#loss !== undefined) listener(this.#loss);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  lost(why: string): void {
    if (this.#loss !== undefined || this.#released !== undefined) return;
    this.#loss = new LockLostError(this.name, why);
    this.sessions.remove(this.entry); // Or it would be renewed, and held for ever.
    for (const listener of [...this.#listeners]) listener(this.#loss);
    this.#listeners.clear();
  }
}

/** A lock of Redis that is held. */
import type { EngineGrant } from '../engine/engine.js';
import { Loss } from '../engine/loss.js';
import { LockEngineError, type LockLostError, messageOf } from '../errors.js';
import type { Entry, Sessions } from './sessions.js';

export class RedisGrant implements EngineGrant {
  readonly #loss: Loss;
  #released: Promise<void> | undefined;

  constructor(
    private readonly name: string,
    private readonly entry: Entry,
    private readonly sessions: Sessions,
    private readonly leave: () => Promise<void>,
  ) {
    // Or it would be renewed, and held for ever.
    this.#loss = new Loss(name, () => sessions.remove(entry));
  }

  get token(): number {
    return this.entry.token as number;
  }

  get isLost(): boolean {
    return this.#loss.error !== undefined;
  }

  release(): Promise<void> {
    this.#loss.released();
    this.#released ??= this.leave();
    return this.#released;
  }

  check(): void {
    if (this.#loss.error === undefined && this.sessions.isLate(this.entry)) this.lost('it was not renewed in time');
    this.#loss.check();
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
    return this.#loss.onLost(listener);
  }

  lost(why: string): void {
    this.#loss.lose(why);
  }
}

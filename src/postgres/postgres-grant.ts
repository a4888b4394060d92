/** A lock of PostgreSQL that is held, by a session. */
import { elapsed } from '../engine/elapsed.js';
import type { EngineGrant } from '../engine/engine.js';
import { Loss } from '../engine/loss.js';
import { within } from '../engine/retry.js';
import { LockEngineError, LockLostError, LockUnsupportedError, messageOf } from '../errors.js';
import { noSchema } from './schema.js';
import type { Session, SessionHold } from './session.js';

export interface LockedKey {
  name: string;
  token: string | null;
  schema: string;
  lossAfter: number;
  /** Unlocks it. Never rejects. */
  release(): Promise<void>;
}

export class PostgresGrant implements EngineGrant, SessionHold {
  readonly #loss: Loss;
  #released: Promise<void> | undefined;

  constructor(
    private readonly session: Session,
    private readonly locked: LockedKey,
  ) {
    this.#loss = new Loss(locked.name);
    session.hold(this);
    if (session.isEnded) this.lost('the connection ended');
  }

  get token(): number {
    const { token, name, schema } = this.locked;
    if (token !== null) return Number(token);
    throw new LockUnsupportedError(name, noSchema(schema, 'tokens'));
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  check(): void {
    if (this.#released === undefined) this.session.look();
    this.#loss.check();
    const { name, lossAfter } = this.locked;
    if (elapsed(this.session.lastAnswered) < lossAfter) return;
    throw new LockLostError(name, `the server has not answered for ${lossAfter} ms, and may have released it`);
  }

  async verify(): Promise<void> {
    const { name, lossAfter } = this.locked;
    const late = (): Error => new LockEngineError(name, `PostgreSQL has not answered within ${lossAfter} ms`);
    try {
      await within(lossAfter, this.session.query('SELECT 1'), late);
    } catch (error) {
      throw this.#loss.error ?? new LockEngineError(name, messageOf(error), error);
    }
    this.#loss.check();
  }

  onLost(listener: (error: LockLostError) => void): () => void {
    return this.#loss.onLost(listener);
  }

  /** Of the session. */
  lost(why: string): void {
    this.#loss.lose(why);
  }

  async #release(): Promise<void> {
    this.#loss.released();
    this.session.drop(this);
    if (!this.session.isEnded) await this.locked.release();
  }
}

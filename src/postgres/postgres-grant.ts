/** A lock of PostgreSQL that is held, by a session. */
import { elapsed } from '../engine/elapsed.js';
import { within } from '../engine/retry.js';
import { ServiceGrant } from '../engine/service-grant.js';
import { LockEngineError, LockLostError, LockUnsupportedError } from '../errors.js';
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

export class PostgresGrant extends ServiceGrant implements SessionHold {
  constructor(
    private readonly session: Session,
    private readonly locked: LockedKey,
  ) {
    super(locked.name);
    session.hold(this);
    if (session.isEnded) this.lost('the connection ended');
  }

  get token(): number {
    const { token, name, schema } = this.locked;
    if (token !== null) return Number(token);
    throw new LockUnsupportedError(name, noSchema(schema, 'tokens'));
  }

  override check(): void {
    super.check();
    const { name, lossAfter } = this.locked;
    if (elapsed(this.session.lastAnswered) < lossAfter) return;
    throw new LockLostError(name, `the server has not answered for ${lossAfter} ms, and may have released it`);
  }

  protected override look(): void {
    this.session.look();
  }

  protected override async ask(): Promise<void> {
    const { name, lossAfter } = this.locked;
    const late = (): Error => new LockEngineError(name, `PostgreSQL has not answered within ${lossAfter} ms`);
    await within(lossAfter, this.session.query('SELECT 1'), late);
  }

  protected override async leave(): Promise<void> {
    this.session.drop(this);
    if (!this.session.isEnded) await this.locked.release();
  }
}

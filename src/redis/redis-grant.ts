/** A lock of Redis that is held. */
import { ServiceGrant } from '../engine/service-grant.js';
import type { Entry, Sessions } from './sessions.js';

export class RedisGrant extends ServiceGrant {
  constructor(
    name: string,
    private readonly entry: Entry,
    private readonly sessions: Sessions,
    protected override readonly leave: () => Promise<void>,
  ) {
    super(name);
  }

  get token(): number {
    return this.entry.token as number;
  }

  protected override look(): void {
    if (this.sessions.isLate(this.entry)) this.lost('it was not renewed in time');
  }

  protected override ask(): Promise<void> {
    return this.sessions.renewOne(this.entry);
  }

  /** Or it would be renewed, and held for ever. */
  protected override whenLost(): void {
    this.sessions.remove(this.entry);
  }
}

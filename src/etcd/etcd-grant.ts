/** A lock of etcd that is held: a key that is the first of its folder, and goes with the lease. */
import { ServiceGrant } from '../engine/service-grant.js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Place, Places } from './places.js';

/** A holder watches its key from so many ms on. */
const WATCH_AFTER_MS = 20;

export class EtcdGrant extends ServiceGrant {
  readonly #ends: (() => void)[] = [];

  constructor(
    private readonly places: Places,
    private readonly place: Place,
    readonly token: number,
  ) {
    super(place.request.name);
    const { lease, key } = place;
    const endLease = lease.onEnd((why) => this.lost(why));
    // A little later: holds that are over by then cost no watch. It looks at the key when it begins.
    const startWatch = setTimeout(() => {
      if (this.isReleased || this.isLost) return;
      this.#ends.push(places.watch(key, () => void this.ask().catch(() => {}))); // The lease decides then.
    }, WATCH_AFTER_MS);
    this.#ends.push(endLease, () => clearTimeout(startWatch));
    this.look();
  }

  protected override look(): void {
    const { ended } = this.place.lease;
    if (ended !== undefined) this.lost(ended);
  }

  protected override async ask(): Promise<void> {
    if (!(await this.places.isThere(this.place))) this.lost('its key was deleted');
  }

  protected override leave(): Promise<void> {
    this.#endWatches();
    return this.places.remove(this.place.key, this.place.lease);
  }

  protected override whenLost(): void {
    this.#endWatches();
  }

  #endWatches(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

/** A lock of etcd that is held: a key that is the first of its folder, and goes with the lease. */
import type { EngineGrant } from '../engine/engine.js';
import { Loss } from '../engine/loss.js';
import { LockEngineError, type LockLostError, messageOf } from '../errors.js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Place, Places } from './places.js';

/** A holder watches its key from so many ms on. */
const WATCH_AFTER_MS = 20;

export class EtcdGrant implements EngineGrant {
  readonly #loss: Loss;
  readonly #ends: (() => void)[] = [];
  #released: Promise<void> | undefined;

  constructor(
    private readonly places: Places,
    private readonly place: Place,
    readonly token: number,
  ) {
    const { lease, key } = place;
    this.#loss = new Loss(place.request.name, () => this.#endWatches());
    const endLease = lease.onEnd((why) => this.#loss.lose(why));
    // A little later: holds that are over by then cost no watch. It looks at the key when it begins.
    const startWatch = setTimeout(() => {
      if (this.#released === undefined && this.#loss.error === undefined) {
        this.#ends.push(places.watch(key, () => void this.#look()));
      }
    }, WATCH_AFTER_MS);
    this.#ends.push(endLease, () => clearTimeout(startWatch));
    if (lease.ended !== undefined) this.#loss.lose(lease.ended);
  }

  release(): Promise<void> {
    this.#endWatches();
    this.#loss.released();
    this.#released ??= this.places.remove(this.place.key, this.place.lease);
    return this.#released;
  }

  check(): void {
    const { ended } = this.place.lease;
    if (ended !== undefined) this.#loss.lose(ended);
    this.#loss.check();
  }

  async verify(): Promise<void> {
    this.check();
    try {
      if (!(await this.places.isThere(this.place))) this.#loss.lose('its key was deleted');
    } catch (error) {
      throw new LockEngineError(this.place.request.name, messageOf(error), error);
    }
    this.check();
  }

  onLost(listener: (error: LockLostError) => void): () => void {
    return this.#loss.onLost(listener);
  }

  /** The key may have been deleted. */
  async #look(): Promise<void> {
    const isThere = await this.places.isThere(this.place).catch(() => true); // The lease decides then.
    if (!isThere) this.#loss.lose('its key was deleted');
  }

  #endWatches(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

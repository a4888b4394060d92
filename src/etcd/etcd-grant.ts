/** A lock of etcd that is held: a key that is the first of its folder, and goes with the lease. */
import type { EngineGrant, EngineRequest } from '../engine/engine.js';
import { Loss } from '../engine/loss.js';
import { LockEngineError, type LockLostError, messageOf } from '../errors.js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Lease } from './lease.js';

/** A holder watches its key from so many ms on. */
const WATCH_AFTER_MS = 20;

/** The keys of one lock. Readers' come after writers' in the order of keys: lease numbers are hexadecimal. */
export interface Range {
  readonly all: { key: Buffer; range_end: Buffer };
  readonly writers: { key: Buffer; range_end: Buffer };
}

/** A request's key. */
export interface Place {
  readonly key: Buffer;
  readonly revision: bigint;
  readonly lease: Lease;
  readonly request: EngineRequest;
  readonly range: Range;
  /** The keys before it that it waited for when it was created: the last one, of a semaphore as many as permits. */
  readonly before: Buffer[];
  /** When it was created, no key was before it, or fewer than permits. */
  readonly wasFirst: boolean;
  /** When it was created, only one key was before it: it is the first when that one is deleted. */
  readonly isNext: boolean;
}

/** What a grant does with its key. */
export interface PlaceKeeper {
  /** Until it is deleted, or has gone with its lease. */
  remove(key: Buffer, lease: Lease): Promise<void>;
  /** Whether it is there still, as it was created. */
  isThere(place: Place): Promise<boolean>;
  watch(key: Buffer, changed: () => void): () => void;
}

export class EtcdGrant implements EngineGrant {
  readonly #loss: Loss;
  readonly #ends: (() => void)[] = [];
  #released: Promise<void> | undefined;

  constructor(
    private readonly keys: PlaceKeeper,
    private readonly place: Place,
    readonly token: number,
  ) {
    const { lease, key } = place;
    this.#loss = new Loss(place.request.name, () => this.#endWatches());
    const endLease = lease.onEnd((why) => this.#loss.lose(why));
    // A little later: holds that are over by then cost no watch. It looks at the key when it begins.
    const startWatch = setTimeout(() => {
      if (this.#released === undefined && this.#loss.error === undefined) {
        this.#ends.push(keys.watch(key, () => void this.#look()));
      }
    }, WATCH_AFTER_MS);
    this.#ends.push(endLease, () => clearTimeout(startWatch));
    if (lease.ended !== undefined) this.#loss.lose(lease.ended);
  }

  release(): Promise<void> {
    this.#endWatches();
    this.#loss.released();
    this.#released ??= this.keys.remove(this.place.key, this.place.lease);
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
      if (!(await this.keys.isThere(this.place))) this.#loss.lose('its key was deleted');
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
    const isThere = await this.keys.isThere(this.place).catch(() => true); // The lease decides then.
    if (!isThere) this.#loss.lose('its key was deleted');
  }

  #endWatches(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

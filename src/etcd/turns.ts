/** A request's way to the head of its queue: the keys of a lock, in the order of their creation. */
import { backOff, pause } from '../engine/retry.js';
import { type Connection, isFatal, isOutOfSpace } from './connection.js';
import type { Deletions } from './folder-watch.js';
import type { Place } from './places.js';
import { type KeyValue, NEWEST, type RangeResponse, type TxnResponse } from './rpc.js';
import { nameOf, type Seen, type Watcher } from './watcher.js';

export type Turn = 'first' | 'key gone';
type Tell = (error: unknown) => void;

export class Turns {
  constructor(
    private readonly connection: Connection,
    private readonly watcher: Watcher,
  ) {}

  /**
   * Rejects with the reason of the signal, and with errors that are fatal.
   * @param tell of the errors of an outage, and of `undefined` when it is over
   */
  waitFor(place: Place, deletions: Deletions | undefined, signal: AbortSignal, tell: Tell): Promise<Turn> {
    const isNext = place.isNext && deletions !== undefined;
    return isNext ? this.#waitAsNext(place, deletions, signal, tell) : this.#waitInQueue(place, signal, tell);
  }

  /**
   * For the deletion of the only key before it, which makes it the first. That it is told is enough: etcd tells what
   * happens to the keys of a folder in its order, and what happened at once in one answer, so its own key is there still
   * unless that was told. A look is needed only where something may not have been told.
   */
  async #waitAsNext(place: Place, deletions: Deletions, signal: AbortSignal, tell: Tell): Promise<Turn> {
    const [before] = place.before as [Buffer];
    let wake = (): void => {};
    const changed = (): void => wake();
    deletions.onChange(changed);
    signal.addEventListener('abort', changed, { once: true });
    const endLease = place.lease.onEnd(changed);
    try {
      for (;;) {
        signal.throwIfAborted();
        if (place.lease.ended !== undefined || deletions.has(place.key)) return 'key gone';
        if (deletions.has(before)) return 'first';
        if (deletions.mustLook) {
          deletions.looks();
          const first = await this.#isFirstPatiently(place, signal, tell);
          signal.throwIfAborted();
          if (first === undefined) return 'key gone';
          if (first === true) return 'first';
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      endLease();
      signal.removeEventListener('abort', changed);
    }
  }

  async #waitInQueue(place: Place, signal: AbortSignal, tell: Tell): Promise<Turn> {
    let wake = (): void => {};
    let isChanged = signal.aborted || place.lease.ended !== undefined;
    const changed = (): void => {
      isChanged = true;
      wake();
    };
    const ends = new Map<string, () => void>();
    // A watch that begins may have missed something; a look when all of them have begun finds it.
    let beginning = 0;
    const seen = (has: Seen): void => {
      if (has === 'begun') beginning--;
      if (has !== 'begun' || beginning <= 0) changed();
    };
    const watch = (others: Buffer[]): void => {
      beginning = this.#watchOnly(ends, [place.key, ...others], place, seen);
    };
    signal.addEventListener('abort', changed, { once: true });
    const endLease = place.lease.onEnd(changed);
    try {
      watch(toWatch(place, place.before));
      for (;;) {
        if (!isChanged) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        signal.throwIfAborted();
        if (place.lease.ended !== undefined) return 'key gone';
        isChanged = false;
        const first = await this.#isFirstPatiently(place, signal, tell);
        signal.throwIfAborted();
        if (first === undefined) return 'key gone';
        if (first === true) return 'first';
        watch(first);
      }
    } finally {
      endLease();
      signal.removeEventListener('abort', changed);
      for (const end of ends.values()) end();
    }
  }

  /** Through an outage: the place in the queue is kept as long as the lease is. */
  async #isFirstPatiently(place: Place, signal: AbortSignal, tell: Tell): Promise<true | undefined | Buffer[]> {
    for (const delay of backOff()) {
      try {
        const first = await this.#isFirst(place);
        tell(undefined);
        return first;
      } catch (error) {
        if (isFatal(error) || signal.aborted || place.lease.ended !== undefined) throw error;
        tell(error);
        await pause(delay, signal);
      }
    }
    throw new Error('unreachable: the delays never end');
  }

  /** The own key, which may be deleted from outside, and the one before it. Returns how many watches are new. */
  #watchOnly(ends: Map<string, () => void>, keys: Buffer[], place: Place, seen: (has: Seen) => void): number {
    const wanted = new Map(keys.map((key) => [nameOf(key), key]));
    for (const [name, end] of ends) {
      if (wanted.has(name)) continue;
      end();
      ends.delete(name);
    }
    let count = 0;
    for (const [name, key] of wanted) {
      if (ends.has(name)) continue;
      count++;
      const isRange = name === nameOf(place.range.all.key);
      const end = isRange ? place.range.all.range_end : undefined;
      ends.set(name, this.watcher.watch(key, seen, end));
    }
    return count;
  }

  /**
   * The keys before the own one, and then that. In one call where that can be; an etcd that is out of space refuses every
   * transaction. In two calls the order matters: no key comes before the own one later, so if there was none, and the own
   * one is there after that, it is the first.
   */
  async #look(...ranges: [before: object, own: object]): Promise<KeyValue[][]> {
    try {
      const success = ranges.map((range) => ({ request_range: range }));
      const { responses } = await this.connection.call<TxnResponse>('KV', 'Txn', { success });
      return responses.map((one) => one.response_range?.kvs ?? []);
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      const found: KeyValue[][] = [];
      for (const range of ranges) found.push((await this.connection.call<RangeResponse>('KV', 'Range', range)).kvs);
      return found;
    }
  }

  /** True: no key is before it. Undefined: it is gone. Else the keys that are to be watched. */
  async #isFirst({ key, revision, request, range }: Place): Promise<true | undefined | Buffer[]> {
    const { mode, permits } = request;
    const before = {
      ...(mode === 'shared' && permits === undefined ? range.writers : range.all),
      ...NEWEST,
      limit: permits ?? 1,
      max_create_revision: (revision - 1n).toString(),
    };
    const [earlier, own] = await this.#look(before, { key, keys_only: true });
    if (own?.[0] === undefined || BigInt(own[0].create_revision) !== revision) return undefined;
    const others = earlier ?? [];
    if (others.length < (permits ?? 1)) return true;
    return toWatch(
      { request, range },
      others.map((one) => one.key),
    );
  }
}

/** Of a semaphore all keys: which of the holders leaves first is not known. */
function toWatch({ request, range }: Pick<Place, 'request' | 'range'>, before: Buffer[]): Buffer[] {
  return request.permits === undefined ? before : [range.all.key];
}

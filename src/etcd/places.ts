/** The keys of this process's requests: one for each, with the lease of them all, until it is deleted. */
import type { EngineRequest } from '../engine/engine.js';
import { ownDescription } from '../engine/party.js';
import { backOff, pause } from '../engine/retry.js';
import { keepingAlive } from '../keep-alive.js';
import { setTimeout, unref } from '../timers.js';
import { type Connection, isFatal, isNotFound } from './connection.js';
import { Lease } from './lease.js';
import { EQUAL, NEWEST, type RangeResponse, TARGET_CREATE, type TxnResponse } from './rpc.js';
import { nameOf, type Watcher } from './watcher.js';

/** A write whose outcome is unknown may be done so much later: its key is deleted once more. */
const UNKNOWN_MS = 10_000;

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

export class Places {
  #lease: Promise<Lease> | undefined;
  #keys = 0;
  /** By their keys: places that are being given up. */
  readonly #removing = new Map<string, Promise<void>>();

  constructor(
    private readonly connection: Connection,
    private readonly watcher: Watcher,
    private readonly prefix: string,
    private readonly ttl: number,
  ) {}

  rangeOf({ name, permits }: EngineRequest): Range {
    const folder = `${this.prefix}${encoded(name)}${permits === undefined ? '' : '%semaphore'}/`;
    const key = Buffer.from(folder);
    const end = Buffer.from(folder);
    end[end.length - 1] = (end[end.length - 1] as number) + 1;
    return { all: { key, range_end: end }, writers: { key, range_end: Buffer.from(`${folder}r`) } };
  }

  /** Whether a key of the lock is a reader's. */
  isReader(key: Buffer, { all }: Range): boolean {
    return key.subarray(all.key.length, all.key.length + 2).toString() === 'r-';
  }

  /** Puts a key at the end of the queue. Null: with `ifFree`, the lock is not free. */
  async enter(request: EngineRequest, ifFree: boolean): Promise<Place | null> {
    const lease = await this.#leased();
    const range = this.rangeOf(request);
    const isReader = request.mode === 'shared' && request.permits === undefined;
    this.#keys++;
    const name = `${isReader ? 'r-' : ''}${lease.hex}-${this.#keys.toString(16)}`;
    const key = Buffer.concat([range.all.key, Buffer.from(name)]);
    const absent = { result: EQUAL, target: TARGET_CREATE, create_revision: 0 };
    const compare: object[] = [{ ...absent, key }];
    if (ifFree && request.permits === undefined) compare.push({ ...absent, ...(isReader ? range.writers : range.all) });
    const put = { request_put: { key, value: Buffer.from(ownDescription()), lease: lease.id } };
    // With the own key, unless that is a reader's.
    const limit = (request.permits ?? 1) + 1;
    const others = { ...(isReader ? range.writers : range.all), ...NEWEST, limit };
    const success = [put, { request_range: others }];
    try {
      const response = await this.connection.call<TxnResponse>('KV', 'Txn', { compare, success });
      if (!response.succeeded) return null;
      const { kvs: found, count } = response.responses[1]?.response_range ?? {};
      const before = (found ?? []).map((one) => one.key).filter((one) => !one.equals(key));
      const wasFirst = found !== undefined && before.length < (request.permits ?? 1);
      before.splice(request.permits ?? 1);
      const isNext = request.permits === undefined && Number(count) === (isReader ? 1 : 2) && before.length === 1;
      return { key, revision: BigInt(response.header.revision), lease, request, range, before, wasFirst, isNext };
    } catch (error) {
      if (isNotFound(error)) lease.end('etcd does not know the lease');
      else if (!isFatal(error)) {
        // The write may have been done, or be done yet.
        this.leave({ key, lease });
        unref(setTimeout(() => this.leave({ key, lease }), UNKNOWN_MS));
      }
      throw error;
    }
  }

  /** Like `remove`, and the process lives until it is done. */
  leave({ key, lease }: Pick<Place, 'key' | 'lease'>): void {
    void keepingAlive(this.remove(key, lease));
  }

  /** Until it is deleted, or has gone with its lease. */
  remove(key: Buffer, lease: Lease): Promise<void> {
    const removing = this.#remove(key, lease);
    this.#removing.set(nameOf(key), removing);
    removing.then(() => this.#removing.delete(nameOf(key)));
    return removing;
  }

  /** Whether it is there still, as it was created. */
  async isThere({ key, revision }: Place): Promise<boolean> {
    const { kvs } = await this.connection.call<RangeResponse>('KV', 'Range', { key, keys_only: true });
    return kvs[0] !== undefined && BigInt(kvs[0].create_revision) === revision;
  }

  watch(key: Buffer, changed: () => void): () => void {
    return this.watcher.watch(key, changed);
  }

  /** A try that follows a release of this process must not meet it: the calls may be served in any order. */
  async ownReleases(request: EngineRequest): Promise<void> {
    const folder = nameOf(this.rangeOf(request).all.key);
    const own = [...this.#removing].filter(([key]) => key.startsWith(folder)).map(([, removing]) => removing);
    if (own.length > 0) await Promise.race([Promise.all(own), pause(this.connection.callTimeout, NEVER)]);
  }

  /** With the lease go all keys. */
  async close(): Promise<void> {
    const lease = await this.#lease?.catch(() => undefined);
    this.#lease = undefined;
    await lease?.revoke();
  }

  async #remove(key: Buffer, lease: Lease): Promise<void> {
    for (const delay of backOff()) {
      if (lease.isOver || this.connection.isClosed) return;
      try {
        // Not as a transaction: those are refused, whatever they do, by an etcd that is out of space.
        await this.connection.call('KV', 'DeleteRange', { key });
        return;
      } catch {
        await pause(delay, NEVER);
      }
    }
  }

  /** One for all locks of this object, made when it is first needed and after it was lost. */
  async #leased(): Promise<Lease> {
    const before = this.#lease;
    const known = await before?.catch(() => undefined);
    if (known !== undefined && known.ended === undefined) return known;
    if (this.#lease !== before) return this.#leased(); // Another request has asked for one meanwhile.
    const granting = Lease.grant(this.connection, this.ttl);
    this.#lease = granting;
    granting.catch(() => {
      if (this.#lease === granting) this.#lease = undefined;
    });
    return granting;
  }
}

export function encoded(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

const NEVER = new AbortController().signal;

/** etcd as an engine: a key for each request, in the order of their creation; the first one holds. */
import type { Engine, EngineGrant, EngineRequest } from '../engine/engine.js';
import { engineError } from '../engine/engine-error.js';
import { describedBy, ownDescription } from '../engine/party.js';
import { backOff, pause } from '../engine/retry.js';
import { keepingAlive } from '../keep-alive.js';
import type { LockParty, Parties } from '../options.js';
import { setTimeout, unref } from '../timers.js';
import { Connection, type ConnectionOptions, isFatal, isNotFound } from './connection.js';
import { EtcdGrant, type Place, type PlaceKeeper, type Range } from './etcd-grant.js';
import { FolderWatches } from './folder-watch.js';
import { Lease } from './lease.js';
import {
  EQUAL,
  type KeyValue,
  type RangeResponse,
  SORT_ASCENDING,
  SORT_BY_CREATE,
  TARGET_CREATE,
  type TxnResponse,
} from './rpc.js';
import { NEWEST, Turns } from './turns.js';
import { nameOf, Watcher } from './watcher.js';

/** A write whose outcome is unknown may be done so much later: its key is deleted once more. */
const UNKNOWN_MS = 10_000;

export class EtcdEngine implements Engine, PlaceKeeper {
  readonly name = 'etcd';
  private readonly callTimeout: number;
  readonly #connection: Connection;
  readonly #watcher: Watcher;
  readonly #folders: FolderWatches;
  readonly #turns: Turns;
  #lease: Promise<Lease> | undefined;
  #base: Promise<number> | undefined;
  #keys = 0;
  /** By their keys: places that are being given up. */
  readonly #removing = new Map<string, Promise<void>>();

  constructor(
    connection: ConnectionOptions,
    private readonly prefix: string,
    private readonly ttl: number,
  ) {
    this.callTimeout = connection.callTimeout;
    this.#connection = new Connection(connection);
    this.#watcher = new Watcher(this.#connection);
    this.#folders = new FolderWatches(this.#watcher);
    this.#turns = new Turns(this.#connection, this.#watcher);
  }

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    let place: Place | null = null;
    try {
      await this.#ownReleases(request);
      place = await this.#enter(request, true);
      if (place === null) return null;
      if (place.wasFirst) return await this.#grant(place);
      void this.#leave(place.key, place.lease);
      return null;
    } catch (error) {
      if (place !== null) void this.#leave(place.key, place.lease);
      throw this.#engineError(request, error);
    }
  }

  async acquire(
    request: EngineRequest,
    signal: AbortSignal,
    trouble: (error: unknown) => void = () => {},
  ): Promise<EngineGrant> {
    const tell = (error: unknown): void => trouble(error === undefined ? error : this.#engineError(request, error));
    for (const delay of backOff()) {
      let place: Place | null = null;
      let deletions = this.#folders.listenIfWatched(this.#rangeOf(request).all);
      try {
        place = await this.#enter(request, false);
        tell(undefined);
        if (place?.wasFirst && !signal.aborted) return await this.#grant(place);
        if (place?.isNext) deletions ??= this.#folders.listen(place.range.all);
        else deletions?.end(); // It would hear of every request before it.
        const turn = place === null ? 'key gone' : await this.#turns.waitFor(place, deletions, signal, tell);
        if (place !== null && turn === 'first') return await this.#grant(place);
        // The key is gone, with its lease or deleted from outside: a new one, at the end of the queue.
      } catch (error) {
        if (place !== null) void this.#leave(place.key, place.lease);
        if (signal.aborted) throw signal.reason;
        if (this.#connection.isHopeless(error) || this.#connection.isClosed) throw this.#engineError(request, error);
        tell(error);
        await pause(delay, signal);
      } finally {
        deletions?.end();
      }
      if (signal.aborted) throw signal.reason;
    }
    throw new Error('unreachable: the delays never end');
  }

  async inspect(request: EngineRequest): Promise<Parties> {
    const { all } = this.#rangeOf(request);
    const sorted = { ...all, sort_order: SORT_ASCENDING, sort_target: SORT_BY_CREATE };
    const { kvs } = await this.#connection.call<RangeResponse>('KV', 'Range', sorted);
    const isReader = ({ key }: KeyValue): boolean => this.#isReader(key, all.key);
    const firstWriter = kvs.findIndex((one) => !isReader(one));
    const holding = request.permits ?? (firstWriter === 0 ? 1 : firstWriter < 0 ? kvs.length : firstWriter);
    const party = (one: KeyValue): LockParty => ({ ...describedBy(one.value.toString()), shared: isReader(one) });
    return { holders: kvs.slice(0, holding).map(party), waiters: kvs.slice(holding).map(party) };
  }

  async readRecord(name: string, key: string): Promise<string | undefined> {
    const request = { key: this.#recordKey(name, key) };
    const { kvs } = await this.#connection.call<RangeResponse>('KV', 'Range', request);
    return kvs[0]?.value.toString();
  }

  async writeRecord(name: string, key: string, text: string): Promise<void> {
    const put = { request_put: { key: this.#recordKey(name, key), value: Buffer.from(text) } };
    await this.#connection.call('KV', 'Txn', { success: [put] });
  }

  async close(): Promise<void> {
    const lease = await this.#lease?.catch(() => undefined);
    this.#lease = undefined;
    await lease?.revoke();
    this.#folders.close();
    this.#watcher.close();
    this.#connection.close();
  }

  remove(key: Buffer, lease: Lease): Promise<void> {
    const removing = this.#remove(key, lease);
    this.#removing.set(nameOf(key), removing);
    removing.then(() => this.#removing.delete(nameOf(key)));
    return removing;
  }

  /** A try that follows a release of this process must not meet it: the calls may be served in any order. */
  async #ownReleases(request: EngineRequest): Promise<void> {
    const folder = nameOf(this.#rangeOf(request).all.key);
    const own = [...this.#removing].filter(([key]) => key.startsWith(folder)).map(([, removing]) => removing);
    if (own.length > 0) await Promise.race([Promise.all(own), pause(this.callTimeout, NEVER)]);
  }

  async #remove(key: Buffer, lease: Lease): Promise<void> {
    for (const delay of backOff()) {
      if (lease.isOver || this.#connection.isClosed) return;
      try {
        // Not as a transaction: those are refused, whatever they do, by an etcd that is out of space.
        await this.#connection.call('KV', 'DeleteRange', { key });
        return;
      } catch {
        await pause(delay, NEVER);
      }
    }
  }

  async isThere({ key, revision }: Place): Promise<boolean> {
    const { kvs } = await this.#connection.call<RangeResponse>('KV', 'Range', { key, keys_only: true });
    return kvs[0] !== undefined && BigInt(kvs[0].create_revision) === revision;
  }

  watch(key: Buffer, changed: () => void): () => void {
    return this.#watcher.watch(key, changed);
  }

  /** Puts a key at the end of the queue. Null: with `ifFree`, the lock is not free. */
  async #enter(request: EngineRequest, ifFree: boolean): Promise<Place | null> {
    const lease = await this.#leased();
    const range = this.#rangeOf(request);
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
      const response = await this.#connection.call<TxnResponse>('KV', 'Txn', { compare, success });
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
        void this.#leave(key, lease);
        unref(setTimeout(() => void this.#leave(key, lease), UNKNOWN_MS));
      }
      throw error;
    }
  }

  async #grant(place: Place): Promise<EngineGrant> {
    const base = await this.#tokenBase();
    return new EtcdGrant(this, place, base + Number(place.revision));
  }

  async #leave(key: Buffer, lease: Lease): Promise<void> {
    await keepingAlive(this.remove(key, lease));
  }

  /** One for all locks of this object, made when it is first needed and after it was lost. */
  async #leased(): Promise<Lease> {
    const before = this.#lease;
    const known = await before?.catch(() => undefined);
    if (known !== undefined && known.ended === undefined) return known;
    if (this.#lease !== before) return this.#leased(); // Another request has asked for one meanwhile.
    const granting = Lease.grant(this.#connection, this.ttl);
    this.#lease = granting;
    granting.catch(() => {
      if (this.#lease === granting) this.#lease = undefined;
    });
    return granting;
  }

  /**
   * Stored once: tokens of file locks begin with the time of day, etcd's revisions near 1, and a store that has seen
   * the former would refuse the latter for ever.
   */
  #tokenBase(): Promise<number> {
    const ask = async (): Promise<number> => {
      const key = Buffer.from(`${this.prefix}.token-base`);
      // Only read where it is there: an etcd that is out of space refuses to write.
      const known = (await this.#connection.call<RangeResponse>('KV', 'Range', { key })).kvs[0];
      if (known !== undefined) return Number(known.value.toString());
      const { responses } = await this.#connection.call<TxnResponse>('KV', 'Txn', {
        compare: [{ result: EQUAL, target: TARGET_CREATE, create_revision: 0, key }],
        success: [{ request_put: { key, value: Buffer.from(String(Date.now())) } }, { request_range: { key } }],
        failure: [{ request_range: { key } }],
      });
      return Number(responses.at(-1)?.response_range?.kvs[0]?.value.toString());
    };
    this.#base ??= ask();
    this.#base.catch(() => {
      this.#base = undefined;
    });
    return this.#base;
  }

  #rangeOf({ name, permits }: EngineRequest): Range {
    const folder = `${this.prefix}${encoded(name)}${permits === undefined ? '' : '%semaphore'}/`;
    const key = Buffer.from(folder);
    const end = Buffer.from(folder);
    end[end.length - 1] = (end[end.length - 1] as number) + 1;
    return { all: { key, range_end: end }, writers: { key, range_end: Buffer.from(`${folder}r`) } };
  }

  /** Beside the folders of locks, whose names contain no % that is not followed by 25 or 2F. */
  #recordKey(name: string, key: string): Buffer {
    return Buffer.from(`${this.prefix}${encoded(name)}%record/${key}`);
  }

  #isReader(key: Buffer, folder: Buffer): boolean {
    return key.subarray(folder.length, folder.length + 2).toString() === 'r-';
  }

  #engineError({ name }: EngineRequest, error: unknown): unknown {
    return engineError(this.name, name, error);
  }
}

function encoded(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

const NEVER = new AbortController().signal;

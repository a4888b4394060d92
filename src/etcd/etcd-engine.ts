/** etcd as an engine: a key for each request, in the order of their creation; the first one holds. */
import type { Engine, EngineGrant, EngineRequest } from '../engine/engine.js';
import { engineError } from '../engine/engine-error.js';
import { describedBy } from '../engine/party.js';
import { throughOutages } from '../engine/retry.js';
import type { LockParty, Parties } from '../options.js';
import { Connection, type ConnectionOptions } from './connection.js';
import { EtcdGrant } from './etcd-grant.js';
import { FolderWatches } from './folder-watch.js';
import { encoded, type Place, Places } from './places.js';
import {
  EQUAL,
  type KeyValue,
  type RangeResponse,
  SORT_ASCENDING,
  SORT_BY_CREATE,
  TARGET_CREATE,
  type TxnResponse,
} from './rpc.js';
import { Turns } from './turns.js';
import { Watcher } from './watcher.js';

export class EtcdEngine implements Engine {
  readonly name = 'etcd';
  readonly #connection: Connection;
  readonly #watcher: Watcher;
  readonly #folders: FolderWatches;
  readonly #turns: Turns;
  readonly #places: Places;
  #base: Promise<number> | undefined;

  constructor(
    connection: ConnectionOptions,
    private readonly prefix: string,
    ttl: number,
  ) {
    this.#connection = new Connection(connection);
    this.#watcher = new Watcher(this.#connection);
    this.#folders = new FolderWatches(this.#watcher);
    this.#places = new Places(this.#connection, this.#watcher, prefix, ttl);
    this.#turns = new Turns(this.#connection, this.#watcher);
  }

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    let place: Place | null = null;
    try {
      await this.#places.ownReleases(request);
      place = await this.#places.enter(request, true);
      if (place === null) return null;
      if (place.wasFirst) return await this.#grant(place);
      this.#places.leave(place);
      return null;
    } catch (error) {
      if (place !== null) this.#places.leave(place);
      throw this.#engineError(request, error);
    }
  }

  acquire(
    request: EngineRequest,
    signal: AbortSignal,
    trouble: (error: unknown) => void = () => {},
  ): Promise<EngineGrant> {
    const told = (error: unknown): unknown => this.#engineError(request, error);
    const tell = (error: unknown): void => trouble(error === undefined ? error : told(error));
    return throughOutages(() => this.#attempt(request, signal, tell), {
      signal,
      trouble,
      told,
      isHopeless: (error) => this.#connection.isHopeless(error) || this.#connection.isClosed,
    });
  }

  async inspect(request: EngineRequest): Promise<Parties> {
    const range = this.#places.rangeOf(request);
    const sorted = { ...range.all, sort_order: SORT_ASCENDING, sort_target: SORT_BY_CREATE };
    const { kvs } = await this.#connection.call<RangeResponse>('KV', 'Range', sorted);
    const isReader = ({ key }: KeyValue): boolean => this.#places.isReader(key, range);
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
    await this.#places.close();
    this.#folders.close();
    this.#watcher.close();
    this.#connection.close();
  }

  /** Undefined: the key is gone, with its lease or deleted from outside. A new one is at the end of the queue. */
  async #attempt(
    request: EngineRequest,
    signal: AbortSignal,
    tell: (error: unknown) => void,
  ): Promise<EngineGrant | undefined> {
    let place: Place | null = null;
    let deletions = this.#folders.listenIfWatched(this.#places.rangeOf(request).all);
    try {
      place = await this.#places.enter(request, false);
      tell(undefined);
      if (place === null) return undefined;
      if (place.wasFirst && !signal.aborted) return await this.#grant(place);
      if (place.isNext) deletions ??= this.#folders.listen(place.range.all);
      else deletions?.end(); // It would hear of every request before it.
      const turn = await this.#turns.waitFor(place, deletions, signal, tell);
      return turn === 'first' ? await this.#grant(place) : undefined;
    } catch (error) {
      if (place !== null) this.#places.leave(place);
      throw error;
    } finally {
      deletions?.end();
    }
  }

  async #grant(place: Place): Promise<EngineGrant> {
    const base = await this.#tokenBase();
    return new EtcdGrant(this.#places, place, base + Number(place.revision));
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

  /** Beside the folders of locks, whose names contain no % that is not followed by 25 or 2F. */
  #recordKey(name: string, key: string): Buffer {
    return Buffer.from(`${this.prefix}${encoded(name)}%record/${key}`);
  }

  #engineError({ name }: EngineRequest, error: unknown): unknown {
    return engineError(this.name, name, error);
  }
}

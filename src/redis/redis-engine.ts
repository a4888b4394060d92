/** Redis as an engine: a sorted set of requests for each lock, served by scripts (see scripts.ts). */
import { randomUUID } from 'node:crypto';
import { onAbort } from '../abort.js';
import { now } from '../engine/elapsed.js';
import type { Engine, EngineGrant, EngineRequest } from '../engine/engine.js';
import { engineError } from '../engine/engine-error.js';
import { describedBy, ownDescription } from '../engine/party.js';
import { backOff, pause, throughOutages } from '../engine/retry.js';
import { keepingAlive } from '../keep-alive.js';
import type { Parties } from '../options.js';
import { clearTimeout, setTimeout, unref } from '../timers.js';
import type { Wire } from './client.js';
import { Connection } from './connection.js';
import { RedisGrant } from './redis-grant.js';
import { ENTER, LEAVE, LOOK, RENEW } from './scripts.js';
import { type Entry, Sessions } from './sessions.js';

/** A request that only time can serve (another program's lock, the time of grace) looks so often. */
const LOOK_MS = 250;

export interface RedisEngineOptions {
  makeWire: () => Wire;
  prefix: string;
  ttl: number;
  callTimeout: number;
  /** How many must have a grant before it is told. */
  replicas: number;
}

export class RedisEngine implements Engine {
  readonly name = 'Redis';
  readonly #process = randomUUID();
  readonly #connection: Connection;
  readonly #sessions: Sessions;
  readonly #prefix: string;
  readonly #ttl: number;
  readonly #replicas: number;
  readonly #copyTimeout: string;
  #count = 0;

  constructor({ makeWire, prefix, ttl, callTimeout, replicas }: RedisEngineOptions) {
    this.#replicas = replicas;
    // Renewals come behind it on the same connection.
    this.#copyTimeout = String(Math.ceil(callTimeout / 2));
    this.#prefix = prefix;
    this.#ttl = ttl;
    const channel = `${prefix}%wake:${this.#process}`;
    this.#connection = new Connection({ makeWire, prefix, ttl, callTimeout, replicas, channel }, (message) =>
      this.#sessions.told(message),
    );
    this.#sessions = new Sessions(ttl, async (keys, permits, ids) => {
      const states = ((await this.#connection.run(RENEW, keys, permits, ids)) as unknown[]).map(Number);
      return { blocked: states.pop() ?? 0, states };
    });
  }

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    const entry = this.#entryOf(request);
    const grant = this.#grantOf(request, entry);
    try {
      const { token } = await this.#enter(request, entry, true);
      if (token < 0) return null;
      entry.token = token;
      this.#sessions.add(entry);
      if (this.#replicas > 0) await this.#copied();
      return grant;
    } catch (error) {
      void this.#leave(entry);
      throw this.#engineError(request, error);
    }
  }

  acquire(
    request: EngineRequest,
    signal: AbortSignal,
    trouble: (error: unknown) => void = () => {},
  ): Promise<EngineGrant> {
    return throughOutages(
      async () => {
        const entry = this.#entryOf(request);
        let grant: EngineGrant | undefined;
        try {
          grant = await this.#waitFor(request, entry, signal, () => trouble(undefined));
          return grant;
        } finally {
          // It is gone, or is taken for it: the server was away for too long. A new one, at the end of the queue.
          if (grant === undefined) void this.#leave(entry);
        }
      },
      {
        signal,
        trouble,
        told: (error) => this.#engineError(request, error),
        isHopeless: (error) => this.#connection.isClosed || this.#connection.isHopeless(error),
      },
    );
  }

  async inspect(request: EngineRequest): Promise<Parties> {
    const found = (await this.#connection.run(LOOK, this.#keysOf(request), 0, [])) as string[];
    const parties: Parties = { holders: [], waiters: [] };
    for (let i = 0; i < found.length; i += 3) {
      const [id = '', description = '', token = ''] = found.slice(i, i + 3);
      const party = { ...describedBy(description), shared: id.startsWith('r:') };
      (token === '' ? parties.waiters : parties.holders).push(party);
    }
    return parties;
  }

  async readRecord(name: string, key: string): Promise<string | undefined> {
    const text = await this.#connection.call('HGET', this.#recordsOf(name), key);
    return text === null || text === undefined ? undefined : String(text);
  }

  async writeRecord(name: string, key: string, text: string): Promise<void> {
    await this.#connection.call('HSET', this.#recordsOf(name), key, text);
  }

  async close(): Promise<void> {
    this.#sessions.close();
    this.#connection.close();
  }

  /** Undefined: it is gone. */
  async #waitFor(
    request: EngineRequest,
    entry: Entry,
    signal: AbortSignal,
    served: () => void,
  ): Promise<EngineGrant | undefined> {
    const grant = this.#grantOf(request, entry);
    // A message may come before the answer.
    this.#sessions.add(entry);
    const { token, blocked } = await this.#enter(request, entry, false);
    if (signal.aborted) throw signal.reason;
    served();
    if (token > 0) entry.token ??= token;
    if (entry.token === undefined && !grant.isLost) {
      await this.#turnOf(entry, signal, blocked);
      // Another process's script has granted it: a write of our own comes after that.
      if (this.#replicas > 0) await this.#sessions.renewOne(entry);
    }
    if (this.#replicas > 0) await this.#copied();
    return grant.isLost ? undefined : grant;
  }

  /** Until it is granted, or gone. @throws the reason of the signal */
  async #turnOf(entry: Entry, signal: AbortSignal, blockedFor: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let endWatch = (): void => {};
    try {
      await new Promise<void>((resolve, reject) => {
        const { lost } = entry;
        entry.acquired = () => resolve();
        entry.lost = (why) => {
          lost(why);
          resolve();
        };
        entry.blocked = (ms) => {
          clearTimeout(timer);
          const look = (): void => void this.#sessions.renewOne(entry).catch(() => {});
          timer = unref(setTimeout(look, Math.min(ms + 1, LOOK_MS)));
        };
        if (blockedFor > 0) entry.blocked(blockedFor);
        endWatch = onAbort(signal, () => reject(signal.reason));
      });
    } finally {
      clearTimeout(timer);
      endWatch();
    }
  }

  /** The last write of this connection is on as many replicas as was asked for. @throws {Error} on fewer */
  async #copied(): Promise<void> {
    const count = Number(await this.#connection.call('WAIT', String(this.#replicas), this.#copyTimeout));
    if (count < this.#replicas) throw new Error(`NOREPLICAS ${count} of ${this.#replicas} replicas have it`);
  }

  async #enter(request: EngineRequest, entry: Entry, ifFree: boolean): Promise<{ token: number; blocked: number }> {
    entry.renewed = now();
    const args = [entry.id, ownDescription(), ifFree ? '1' : '0'];
    const answer = await this.#connection.run(ENTER, entry.keys, request.permits ?? 0, args);
    const [token, blocked] = (answer as unknown[]).map(Number);
    return { token: token as number, blocked: blocked as number };
  }

  #entryOf(request: EngineRequest): Entry {
    const isReader = request.mode === 'shared' && request.permits === undefined;
    const id = `${isReader ? 'r' : 'w'}:${this.#process}:${++this.#count}`;
    const nothing = (): void => {};
    return {
      ...{ id, keys: this.#keysOf(request), permits: request.permits ?? 0, renewed: now(), token: undefined },
      ...{ acquired: nothing, lost: nothing, blocked: nothing },
    };
  }

  #grantOf({ name }: EngineRequest, entry: Entry): RedisGrant {
    const grant = new RedisGrant(name, entry, this.#sessions, () => this.#leave(entry));
    entry.lost = (why) => grant.lost(why);
    return grant;
  }

  /** Until Redis has dropped it, or has by itself. */
  async #leave(entry: Entry): Promise<void> {
    this.#sessions.remove(entry);
    const leaving = async (): Promise<void> => {
      const since = now();
      for (const delay of backOff()) {
        if (this.#connection.isClosed || since.monotonic + this.#ttl < now().monotonic) return;
        try {
          await this.#connection.run(LEAVE, entry.keys, entry.permits, [entry.id]);
          return;
        } catch {
          await pause(delay);
        }
      }
    };
    await keepingAlive(leaving());
  }

  #keysOf({ name, permits }: EngineRequest): string[] {
    const hold = `${this.#prefix}${encoded(name)}${permits === undefined ? '' : '%semaphore'}`;
    return [hold, ...['queue', 'alive', 'info', 'granted', 'token', 'server'].map((what) => `{${hold}}:${what}`)];
  }

  #recordsOf(name: string): string {
    return `{${this.#prefix}${encoded(name)}}:records`;
  }

  #engineError({ name }: EngineRequest, error: unknown): unknown {
    return engineError(this.name, name, error);
  }
}

/** In Redis Cluster braces say which part of a key names its slot. */
function encoded(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('{', '%7B').replaceAll('}', '%7D');
}

/** fairlock/redis: locks between machines, on one Redis or Valkey primary. */
import { EngineLocks } from '../engine/engine-locks.js';
import { shown } from '../errors.js';
import { optionsObject } from '../validate.js';
import { type RedisClient, wires } from './client.js';
import { RedisEngine } from './redis-engine.js';

export type { EngineInspection, EngineLockOptions, FencedHandle } from '../engine/engine-lock.js';
export type { RedisClient } from './client.js';

export interface RedisLocksOptions {
  /** `redis://host:6379` or `rediss://…`. One of `url` and `client` is required. */
  url?: string | undefined;
  /** A client of node-redis (v4, v5) or ioredis: connections like its own are made, and it is not used itself. */
  client?: RedisClient | undefined;
  /** Of all keys and channels. @default 'fairlock/' */
  prefix?: string | undefined;
  /** After how many ms without renewal Redis ends the locks of this process. At least 3000. @default 10000 */
  ttl?: number | undefined;
  /** How many ms a call may take. @default 2000 */
  callTimeout?: number | undefined;
  /**
   * How many replicas must have a grant before it is told (`WAIT`): a failover loses fewer of them then, and each takes
   * longer. Where too few answer within half of `callTimeout`, it is waited for, as in an outage. Not in a cluster.
   * @default 0
   */
  replicas?: number | undefined;
}

const OPTIONS = ['url', 'client', 'prefix', 'ttl', 'callTimeout', 'replicas'];

/**
 * The locks of one Redis. Connects when a lock is first asked for. Redis copies to its replicas later: a failover that
 * loses the last writes may give a lock to a second holder, and the token is what protects data then.
 */
export class RedisLocks extends EngineLocks<RedisEngine> {
  /** @throws {TypeError} @throws {RangeError} a bad option @throws {Error} neither redis nor ioredis is installed */
  constructor(options: RedisLocksOptions) {
    const given = optionsObject<Partial<RedisLocksOptions>>(options, OPTIONS);
    const { url, client, prefix = 'fairlock/', ttl = 10_000, callTimeout = 2000, replicas = 0 } = given;
    if ((url === undefined) === (client === undefined))
      throw new TypeError('url, client: exactly one of them is required');
    if (url !== undefined && typeof url !== 'string') throw new TypeError(`url: expected a text, got ${shown(url)}`);
    if (client !== undefined && typeof client?.duplicate !== 'function')
      throw new TypeError(`client: expected a client of redis or ioredis, got ${shown(client)}`);
    if (typeof prefix !== 'string' || /[{}]/.test(prefix))
      throw new TypeError(`prefix: expected a text without braces, got ${shown(prefix)}`);
    if (!(ttl >= 3000 && ttl < 2 ** 31)) throw new RangeError(`ttl: expected at least 3000 ms, got ${shown(ttl)}`);
    if (!(callTimeout > 0 && callTimeout < 2 ** 31))
      throw new RangeError(`callTimeout: expected a number of ms, got ${shown(callTimeout)}`);
    if (!(Number.isInteger(replicas) && replicas >= 0))
      throw new RangeError(`replicas: expected a number of them, got ${shown(replicas)}`);
    const makeWire = wires(client === undefined ? { url: url as string } : { client });
    super(new RedisEngine({ makeWire, prefix, ttl, callTimeout, replicas }), 1000);
  }
}

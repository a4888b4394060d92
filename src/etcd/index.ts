/** fairlock/etcd: locks between machines, on etcd's leases. */
import { EngineLocks } from '../engine/engine-locks.js';
import { shown } from '../errors.js';
import { optionsObject } from '../validate.js';
import type { Tls } from './connection.js';
import { EtcdEngine } from './etcd-engine.js';

export type { EngineInspection, EngineLockOptions, FencedHandle } from '../engine/engine-lock.js';

export interface EtcdLocksOptions {
  /** `http://host:2379` or `https://…`; several are tried in turn. */
  endpoints: string | readonly string[];
  /** Of all keys. @default 'fairlock/' */
  prefix?: string | undefined;
  /** After how many ms without renewal etcd ends the locks of this process. At least 5000. @default 15000 */
  ttl?: number | undefined;
  tls?: Tls | undefined;
  username?: string | undefined;
  password?: string | undefined;
  /** How many ms a call may take. @default 5000 */
  callTimeout?: number | undefined;
}

const OPTIONS = ['endpoints', 'prefix', 'ttl', 'tls', 'username', 'password', 'callTimeout'];

/**
 * The locks of one etcd cluster. Connects when a lock is first asked for. `close()` gives back the lease, with all
 * locks.
 */
export class EtcdLocks extends EngineLocks<EtcdEngine> {
  /** @throws {TypeError} @throws {RangeError} a bad option */
  constructor(options: EtcdLocksOptions) {
    const given = optionsObject<Partial<EtcdLocksOptions>>(options, OPTIONS);
    const { prefix = 'fairlock/', ttl = 15_000, callTimeout = 5000, tls, username, password } = given;
    const endpoints = typeof given.endpoints === 'string' ? [given.endpoints] : given.endpoints;
    if (!Array.isArray(endpoints) || endpoints.length === 0 || endpoints.some((one) => typeof one !== 'string')) {
      throw new TypeError(`endpoints: expected a URL or a list of URLs, got ${shown(given.endpoints)}`);
    }
    if (typeof prefix !== 'string') throw new TypeError(`prefix: expected a string, got ${shown(prefix)}`);
    if (!(ttl >= 5000 && ttl < 2 ** 31)) throw new RangeError(`ttl: expected at least 5000 ms, got ${shown(ttl)}`);
    if (!(callTimeout > 0 && callTimeout < 2 ** 31)) {
      throw new RangeError(`callTimeout: expected a number of ms, got ${shown(callTimeout)}`);
    }
    super(new EtcdEngine({ endpoints, tls, username, password, callTimeout }, prefix, ttl), 1000);
  }
}

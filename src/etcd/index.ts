/** fairlock/etcd: locks between machines, on etcd's leases. */
import {
  EngineLock,
  type EngineLockOptions,
  EngineQueues,
  EngineReaderWriterLock,
  EngineSemaphore,
} from '../engine/engine-lock.js';
import { shown } from '../errors.js';
import type { Parties } from '../options.js';
import type { Tls } from './connection.js';
import { EtcdEngine } from './etcd-engine.js';

export type { EngineInspection, EngineLockOptions, FencedHandle } from '../engine/engine-lock.js';

export interface EtcdLocksOptions {
  /** `http://host:2379` or `https://…`; several are tried in turn. */
  endpoints: string | readonly string[];
  /** Of all keys. @default 'fairlock/' */
  prefix?: string;
  /** After how many ms without renewal etcd ends the locks of this process. At least 5000. @default 15000 */
  ttl?: number;
  tls?: Tls;
  username?: string;
  password?: string;
  /** How many ms a call may take. @default 5000 */
  callTimeout?: number;
}

const OPTIONS = ['endpoints', 'prefix', 'ttl', 'tls', 'username', 'password', 'callTimeout'];

/** The locks of one etcd cluster. Connects when a lock is first asked for. */
export class EtcdLocks implements AsyncDisposable {
  readonly #engine: EtcdEngine;
  readonly #queues = new EngineQueues();

  /** @throws {TypeError} @throws {RangeError} a bad option */
  constructor(options: EtcdLocksOptions) {
    if (typeof options !== 'object' || options === null) throw new TypeError('options: expected an object');
    for (const name of Object.keys(options)) {
      if (OPTIONS.includes(name)) continue;
      throw new TypeError(`${name}: there is no such option here; there are: ${OPTIONS.join(', ')}`);
    }
    const { prefix = 'fairlock/', ttl = 15_000, callTimeout = 5000, tls, username, password } = options;
    const endpoints = typeof options.endpoints === 'string' ? [options.endpoints] : options.endpoints;
    if (!Array.isArray(endpoints) || endpoints.length === 0 || endpoints.some((one) => typeof one !== 'string')) {
      throw new TypeError(`endpoints: expected a URL or a list of URLs, got ${shown(options.endpoints)}`);
    }
    if (typeof prefix !== 'string') throw new TypeError(`prefix: expected a string, got ${shown(prefix)}`);
    if (!(ttl >= 5000 && ttl < 2 ** 31)) throw new RangeError(`ttl: expected at least 5000 ms, got ${shown(ttl)}`);
    if (!(callTimeout > 0 && callTimeout < 2 ** 31)) {
      throw new RangeError(`callTimeout: expected a number of ms, got ${shown(callTimeout)}`);
    }
    this.#engine = new EtcdEngine({ endpoints, tls, username, password, callTimeout }, prefix, ttl);
  }

  /** @param options `handOver`, `reentrant` */
  lock(name: string, options: EngineLockOptions = {}): EngineLock {
    return new EngineLock(this.#engine, named(name), this.#queues, options);
  }

  readerWriterLock(name: string): EngineReaderWriterLock {
    return new EngineReaderWriterLock(this.#engine, named(name), this.#queues);
  }

  /** @param options `permits`: how many may hold it at once, the same in all processes */
  semaphore(name: string, { permits }: { permits: number }): EngineSemaphore {
    if (!Number.isInteger(permits) || permits < 1 || permits > 1000) {
      throw new RangeError(`permits: expected 1 to 1000, got ${shown(permits)}`);
    }
    return new EngineSemaphore(this.#engine, named(name), this.#queues, permits);
  }

  /** The processes that hold a lock and wait for it. */
  inspect(name: string): Promise<Parties> {
    return this.#engine.inspect({ name: named(name), mode: 'exclusive' });
  }

  /** Gives back the lease, and with it all locks of this object. */
  close(): Promise<void> {
    return this.#engine.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function named(name: unknown): string {
  if (typeof name !== 'string' || name === '') throw new TypeError(`name: expected a name, got ${shown(name)}`);
  return name;
}

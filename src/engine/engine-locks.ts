/** The locks of one lock service, by name: the base of `EtcdLocks`, `PostgresLocks` and third parties' classes. */
import { shown } from '../errors.js';
import { keepingAlive } from '../keep-alive.js';
import type { Parties } from '../options.js';
import type { Engine } from './engine.js';
import {
  EngineLock,
  type EngineLockOptions,
  EngineQueues,
  EngineReaderWriterLock,
  EngineSemaphore,
} from './engine-lock.js';

export abstract class EngineLocks<E extends Engine = Engine> implements AsyncDisposable {
  readonly #queues = new EngineQueues();

  protected constructor(
    /** @internal */ protected readonly engine: E,
    private readonly mostPermits: number,
  ) {}

  /** @param options `handOver`, `reentrant` */
  lock(name: string, options: EngineLockOptions = {}): EngineLock {
    return new EngineLock(this.engine, named(name), this.#queues, options);
  }

  readerWriterLock(name: string): EngineReaderWriterLock {
    return new EngineReaderWriterLock(this.engine, named(name), this.#queues);
  }

  /** @param options `permits`: how many may hold it at once, the same in all processes */
  semaphore(name: string, { permits }: { permits: number }): EngineSemaphore {
    if (!Number.isInteger(permits) || permits < 1 || permits > this.mostPermits) {
      throw new RangeError(`permits: expected 1 to ${this.mostPermits}, got ${shown(permits)}`);
    }
    return new EngineSemaphore(this.engine, named(name), this.#queues, permits);
  }

  /** The processes that hold a lock and wait for it. */
  inspect(name: string): Promise<Parties> {
    return keepingAlive(this.engine.inspect({ name: named(name), mode: 'exclusive' }));
  }

  /**
   * Ends the connections, and what they hold or as soon as it is released: see the service. Waiters, and requests from
   * now on, reject with `LockClosedError`.
   */
  async close(): Promise<void> {
    this.#queues.close();
    await this.engine.close?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function named(name: unknown): string {
  if (typeof name !== 'string' || name === '') throw new TypeError(`name: expected a name, got ${shown(name)}`);
  return name;
}

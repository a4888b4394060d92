/**
 * The contract for engines: lock services that exist, behind this library's interface and its queue. An engine grants
 * to one process at a time; requests of one process queue before they come to it.
 */
import type { LockLostError } from '../errors.js';
import type { LockMode, Parties } from '../options.js';

export interface EngineRequest {
  readonly name: string;
  readonly mode: LockMode;
  /** Of a semaphore: how many may hold it. */
  readonly permits?: number;
}

/** A lock that the engine has granted. */
export interface EngineGrant {
  /** The fencing token: greater than those of all grants before. @throws {LockUnsupportedError} why there is none */
  readonly token: number;
  /** Never rejects. It is retried until the engine has released the lock, or by itself does not hold it any more. */
  release(): Promise<void>;
  /** No network. @throws {LockLostError} by this machine's clock the lock is lost, or may be */
  check(): void;
  /** Asks the engine. @throws {LockLostError} it is lost @throws {LockEngineError} there is no answer */
  verify(): Promise<void>;
  /** Calls back once if the lock is lost before it is released. Returns a function that ends that. */
  onLost(listener: (error: LockLostError) => void): () => void;
}

/** The methods of an engine reject with `LockEngineError` where it cannot be asked, but for `acquire`. */
export interface Engine {
  /** For messages: `'etcd'`, `'PostgreSQL'`. */
  readonly name: string;
  /** One try. Null: the lock is held, or a request is queued. */
  tryAcquire(request: EngineRequest): Promise<EngineGrant | null>;
  /**
   * Waits in the engine's queue, also through outages of the engine.
   * @param signal once aborted, the promise rejects, and no lock and no place in the queue stays
   * @param trouble told of each error for which the wait goes on: an outage; of `undefined` when it is over
   * @throws errors that waiting cannot repair: wrong credentials, an unsupported server
   */
  acquire(request: EngineRequest, signal: AbortSignal, trouble?: (error: unknown) => void): Promise<EngineGrant>;
  inspect(request: EngineRequest): Promise<Parties>;
  /** What `runOnce` keeps beside a lock: a text for each key, for ever. Undefined: none. */
  readRecord(name: string, key: string): Promise<string | undefined>;
  /** Only by the holder of the lock. On disk, or its like, when it resolves. */
  writeRecord(name: string, key: string, text: string): Promise<void>;
  /** Ends the connections; of what is held, see the service. */
  close?(): Promise<void>;
}

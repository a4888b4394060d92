/** The lock between processes. */

import { canonicalPath } from '../file/paths.js';
import type { Mechanism } from '../mechanism/mechanism.js';
import { selectMechanism } from '../mechanism/select.js';
import { type AcquireOptions, type InterProcessLockOptions, type LockParty, lockOptions, lockPath, type MechanismName } from '../options.js';
import { queueFor, queueKey } from '../queue/registry.js';
import type { LockHandle } from './handle.js';
import { QueuedLock } from './queued-lock.js';

/** What `inspect()` sees: a snapshot, out of date as soon as it is read. */
export interface LockInspection {
  path: string;
  mechanism: MechanismName;
  /** What locks, and how a waiter waits. */
  layers: Mechanism['layers'];
  /** Whether this object holds it. */
  held: boolean;
  holders: LockParty[];
  waiters: LockParty[];
}

/**
 * A lock between processes, on a file. Within a thread it is served strictly in order of arrival; between processes
 * the order is the kernel's. The kernel drops the lock when its holder dies, however it dies.
 *
 * Not guaranteed: exclusion of programs that do not lock (it is advisory), of other machines on a network file
 * system, and, with mechanism `lockfile`, of a holder that misses its heartbeat.
 */
export class InterProcessLock implements Disposable {
  /** The absolute path. */
  readonly path: string;
  /** The mechanism that serves it: what `'auto'` came to. */
  readonly mechanism: MechanismName;
  readonly #lock: QueuedLock;

  /**
   * Touches no file: the lock file and missing parent folders are created when the lock is first taken.
   * @throws {TypeError} @throws {RangeError} a bad argument
   * @throws {LockUnsupportedError} the mechanism that was asked for by name cannot be had
   */
  constructor(path: string | URL, options?: InterProcessLockOptions) {
    const given = lockOptions(options);
    this.path = lockPath(path);
    const canonical = canonicalPath(this.path, given.followSymlinks);
    const queue = queueFor(queueKey(canonical, given.range));
    const mechanism = selectMechanism(this.path, canonical, given, queue);
    this.mechanism = mechanism.name as MechanismName;
    this.#lock = new QueuedLock(this.path, queue, mechanism);
  }

  /** Whether a handle of this object holds the lock. */
  get held(): boolean {
    return this.#lock.held > 0;
  }

  /**
   * Waits for its turn, then for the lock.
   * @throws {LockTimeoutError} not granted within `timeout` ms
   * @throws {LockClosedError} `close()` was called
   * @throws {LockMismatchError} processes with and without native locks use the path
   * @throws {LockUnsupportedError} the file or its file system cannot be locked
   * @throws `signal.reason` on abort; system errors (EACCES, ELOOP, EMFILE, …) as Node shapes them
   */
  acquire(options?: AcquireOptions): Promise<LockHandle> {
    return this.#lock.acquire(false, options);
  }

  /** Never waits and never overtakes: null where somebody holds the lock or waits for it. Throws like `acquire`. */
  tryAcquire(): LockHandle | null {
    return this.#lock.tryAcquire(false);
  }

  /**
   * Waits and blocks the thread: nothing else of it runs meanwhile.
   * @param options `timeout` in ms, default Infinity; 0 = try once
   * @throws {LockDeadlockError} at once, if this thread's own code holds the lock or stands before this call
   * @throws what `acquire` throws
   */
  acquireSync(options?: { timeout?: number }): LockHandle {
    return this.#lock.acquireSync(false, options);
  }

  /** Holds the lock while `fn` runs, until its promise is settled; resolves and rejects with it. */
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#lock.with(false, fn, options);
  }

  /** Who holds and who waits, and which layer serves. */
  inspect(): LockInspection {
    return { path: this.path, mechanism: this.mechanism, layers: this.#lock.mechanism.layers, held: this.held, ...this.#lock.parties() };
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held until it is released. */
  close(): void {
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** From a path and options to a lock on it: what the locks between processes share. */

import { queueFor, queueKey } from '../backends/path-registry.js';
import { selectMechanism } from '../backends/select.js';
import type { Mechanism } from '../core/backend.js';
import { systemClock } from '../core/clock.js';
import { QueuedLock } from '../core/lock-core.js';
import { canonicalPath } from '../files/canonical-path.js';
import { type InterProcessLockOptions, type LockParty, lockOptions, lockPath, type MechanismName } from '../options.js';

/** What `inspect()` sees: a snapshot, out of date as soon as it is read. */
export interface LockInspection {
  path: string;
  mechanism: MechanismName;
  /** The order between processes. */
  fairness: 'kernel' | 'fifo';
  /** What locks, and how a waiter waits. */
  layers: Mechanism['layers'];
  /** Whether this object holds it. */
  held: boolean;
  holders: LockParty[];
  waiters: LockParty[];
}

/** What a lock queues by: the same for all spellings of a path. By the object, since other copies of this class have their own. */
const queues = new WeakMap<object, string>();

export function queueOf(lock: object): string | undefined {
  return queues.get(lock);
}

/** Not exported to users: the base of the locks that are. */
export abstract class PathLock implements Disposable {
  /** The absolute path. */
  readonly path: string;
  /** The mechanism that serves it: what `'auto'` came to. */
  readonly mechanism: MechanismName;
  /** @internal */ protected readonly lock: QueuedLock;

  /**
   * Touches no file: the lock file and missing parent folders are created when the lock is first taken.
   * @throws {TypeError} @throws {RangeError} a bad argument
   * @throws {LockUnsupportedError} the mechanism or the fairness that was asked for by name is not available
   */
  constructor(path: string | URL, options?: InterProcessLockOptions) {
    const given = { ...lockOptions(options), movable: this.movable, directories: this.directories };
    this.path = lockPath(path);
    const canonical = canonicalPath(this.path, given.followSymlinks);
    const key = queueKey(canonical, given.range);
    queues.set(this, key);
    const queue = queueFor(key);
    const mechanism = selectMechanism(this.path, canonical, given, queue);
    this.mechanism = mechanism.name as MechanismName;
    this.lock = new QueuedLock(this.path, queue, mechanism, systemClock, given.reentrant);
  }

  /** @internal Whether waits move over when another file takes the place of the one waited for. */
  protected get movable(): boolean {
    return false;
  }

  /** @internal Whether a directory at the path may be locked, where the mechanism can do it. */
  protected get directories(): boolean {
    return true;
  }

  /**
   * Whether the lock is held, by this or another process, shared or not: for a look, since the answer may be out of date
   * as soon as it is there (to do something only if the lock is free, use `tryAcquire`). The kernel is asked, so holders of
   * other users and in other containers count too. `fcntl` has such a question. `flock` has none: the lock is taken and
   * given back in some microseconds, in which a try of flock(1) `-n` and other programs may fail; fairlock's notice.
   * @throws system errors; {LockUnsupportedError}
   */
  isLocked(): boolean {
    return this.lock.isLocked();
  }

  /** Whether a handle of this object holds the lock. */
  get held(): boolean {
    return this.lock.held > 0;
  }

  /** Who holds and who waits (best effort where other processes are concerned), and which layer serves. */
  inspect(): LockInspection {
    const { path, mechanism, held } = this;
    const { fairness = 'kernel', layers } = this.lock.mechanism;
    return { path, mechanism, fairness, layers, held, ...this.lock.parties() };
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held until it is released. */
  close(): void {
    this.lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

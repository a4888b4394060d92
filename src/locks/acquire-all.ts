/** Several locks at once, without deadlock. */
import { overlaps, type QueueName, queueKey } from '../backends/path-registry.js';
import type { LockHandle } from '../core/handle.js';
import { releaseAll, SeveralHandle } from '../core/several-handle.js';
import { LockDeadlockError } from '../errors.js';
import { statAt } from '../files/lock-file.js';
import type { AcquireOptions } from '../options.js';
import { quietly } from '../quietly.js';
import { Deadline } from '../timers.js';
import { acquireOptions } from '../validate.js';
import { queueNameOf } from './placed-core.js';

/** What `acquireAll` takes: `InterProcessLock`s, and whatever has a path and can be acquired likewise. */
export interface Acquirable {
  readonly path: string;
  acquire(options?: AcquireOptions): Promise<LockHandle>;
}

/**
 * Acquires all of the locks or none. They are acquired one after the other in an order of their files that is the same
 * for all callers (in all processes, however the paths are spelled), so that two callers never wait for each other.
 *
 * The handle releases all of them; its `signal` is aborted when the first of them is lost. `timeout` and `signal` are
 * for all together; `onWait` may be called once for each.
 * @throws {TypeError} no locks, one that cannot be acquired, or the same lock twice
 * @throws {LockDeadlockError} two of them exclude each other: byte ranges that overlap, two names of one file
 * @throws what `InterProcessLock.acquire` throws; what was acquired by then is released
 */
export async function acquireAll(locks: readonly Acquirable[], options?: AcquireOptions): Promise<LockHandle> {
  const { timeout = Infinity, ...rest } = acquireOptions(options);
  const inOrder = sorted(locks);
  const deadline = new Deadline(timeout);
  const held: LockHandle[] = [];
  try {
    for (const lock of inOrder) {
      held.push(await lock.acquire({ ...rest, ...deadline.options }));
    }
  } catch (error) {
    releaseAll(held);
    throw error;
  }
  return new SeveralHandle(held);
}

function sorted(locks: readonly Acquirable[]): Acquirable[] {
  if (!Array.isArray(locks) || locks.length === 0)
    throw new TypeError('locks: expected an array of locks that is not empty');
  for (const lock of locks) {
    if (typeof lock?.acquire !== 'function' || typeof lock.path !== 'string')
      throw new TypeError('locks: expected locks with a path and acquire()');
  }
  const keyed = locks.map((lock) => ({ lock, name: queueNameOf(lock) ?? { path: lock.path } }));
  const inOrder = keyed.map((one) => ({ ...one, key: queueKey(one.name), file: fileAt(one.name.path) }));
  inOrder.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  for (const [i, one] of inOrder.entries()) for (const before of inOrder.slice(0, i)) refuseOverlap(before, one);
  return inOrder.map(({ lock }) => lock);
}

interface Keyed {
  lock: Acquirable;
  name: QueueName;
  key: string;
  /** Which file is there, by whatever name. */
  file: string | undefined;
}

/** Two of them that exclude each other: the second would wait for the first, which waits for the second. */
function refuseOverlap(first: Keyed, second: Keyed): void {
  const { path } = second.lock;
  if (first.key === second.key) throw new TypeError(`locks: '${path}' is among them twice, and would wait for itself`);
  if (first.name.path !== second.name.path && (first.file === undefined || first.file !== second.file)) return;
  if (first.name.isSemaphore || second.name.isSemaphore) return;
  if (mechanismOf(first.lock) !== mechanismOf(second.lock) || !overlaps(first.name.range, second.name.range)) return;
  const why =
    first.name.path === second.name.path
      ? 'two of the locks are on bytes of it that overlap'
      : `it is the same file as '${first.lock.path}', by another name`;
  throw new LockDeadlockError(path, why);
}

/** Of a file that is there: the same for all its names. */
function fileAt(path: string): string | undefined {
  const stat = quietly(() => statAt(path, true));
  return stat && `${stat.dev}:${stat.ino}`;
}

/** `flock` and `fcntl` do not see each other; of a foreign kind of lock nothing is known. */
function mechanismOf(lock: Acquirable): unknown {
  return (lock as { mechanism?: unknown }).mechanism;
}

/** Several locks at once, without deadlock. */
import type { LockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';
import { acquireOptions } from '../validate.js';
import { queueKeyOf } from './file-lock.js';

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
 * @throws what `InterProcessLock.acquire` throws; what was acquired by then is released
 */
export async function acquireAll(locks: readonly Acquirable[], options?: AcquireOptions): Promise<LockHandle> {
  const { timeout = Infinity, ...rest } = acquireOptions(options);
  const inOrder = sorted(locks);
  const end = performance.now() + timeout;
  const held: LockHandle[] = [];
  try {
    for (const lock of inOrder) {
      const left = timeout === Infinity ? {} : { timeout: Math.max(0, end - performance.now()) };
      held.push(await lock.acquire({ ...rest, ...left }));
    }
  } catch (error) {
    for (const handle of held.reverse()) handle.release();
    throw error;
  }
  return new HandleOfAll(held);
}

function sorted(locks: readonly Acquirable[]): Acquirable[] {
  if (!Array.isArray(locks) || locks.length === 0)
    throw new TypeError('locks: expected an array of locks that is not empty');
  for (const lock of locks) {
    if (typeof lock?.acquire !== 'function' || typeof lock.path !== 'string')
      throw new TypeError('locks: expected locks with a path and acquire()');
  }
  const keyed = locks.map((lock) => ({ lock, key: queueKeyOf(lock) ?? lock.path }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const twice = keyed.find(({ key }, i) => key === keyed[i - 1]?.key);
  if (twice !== undefined)
    throw new TypeError(`locks: '${twice.lock.path}' is among them twice, and would wait for itself`);
  return keyed.map(({ lock }) => lock);
}

class HandleOfAll implements LockHandle {
  readonly shared = false;
  /** Each of the locks has its own. */
  readonly fd = undefined;
  readonly release: () => void;
  #signal: AbortSignal | undefined;

  constructor(private readonly held: readonly LockHandle[]) {
    this.release = () => {
      for (const handle of [...held].reverse()) handle.release();
    };
  }

  get released(): boolean {
    return this.held.every(({ released }) => released);
  }

  get signal(): AbortSignal {
    this.#signal ??= AbortSignal.any(this.held.map(({ signal }) => signal));
    return this.#signal;
  }

  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

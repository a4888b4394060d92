/** Two locks as one: the machine's first, then the one between machines. */
import type { LockHandle } from '../core/handle.js';
import { signalOfAny } from '../core/several-handle.js';
import type { AcquireOptions } from '../options.js';
import { Deadline } from '../timers.js';
import { acquireOptions, callback } from '../validate.js';
import type { Lock, LockRecords } from './lock.js';

/**
 * Acquires `outer`, then `inner`; releases in the other order. With a file lock outside, one process of each machine
 * competes for the lock of the engine, and all others wait in the kernel for nothing.
 *
 * The handle is that of `inner` (with its token, where it has one); its `signal` is aborted when either is lost.
 * `timeout` and `signal` are for both together.
 */
export function layered(outer: Lock, inner: Lock): Lock {
  return new Layered(outer, inner);
}

class Layered implements Lock {
  declare readonly records?: LockRecords;

  constructor(
    private readonly outer: Lock,
    private readonly inner: Lock,
  ) {
    if (inner.records !== undefined) this.records = inner.records;
  }

  get name(): string {
    return this.inner.name;
  }

  get held(): boolean {
    return this.inner.held;
  }

  async acquire(options?: AcquireOptions): Promise<LockHandle> {
    const given = acquireOptions(options);
    const deadline = new Deadline(given.timeout ?? Infinity);
    const first = await this.outer.acquire(given);
    try {
      return both(first, await this.inner.acquire({ ...given, ...deadline.options }));
    } catch (error) {
      first.release();
      throw error;
    }
  }

  async tryAcquire(): Promise<LockHandle | null> {
    const first = await this.outer.tryAcquire();
    if (first === null) return null;
    try {
      const second = await this.inner.tryAcquire();
      if (second !== null) return both(first, second);
    } catch (error) {
      first.release();
      throw error;
    }
    first.release();
    return null;
  }

  async withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    callback(fn);
    const handle = await this.acquire(options);
    try {
      return await fn(handle);
    } finally {
      // Another process of this machine competes only when the engine has released it.
      await handle.release();
    }
  }

  close(): void {
    this.inner.close();
    this.outer.close();
  }
}

/** The inner handle, which also releases the outer one. */
function both(outer: LockHandle, inner: LockHandle): LockHandle {
  let signal: AbortSignal | undefined;
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => {
    released ??= Promise.resolve(inner.release() as void | Promise<void>).then(() => outer.release());
    return released;
  };
  return new Proxy(inner, {
    get(target, property) {
      if (property === 'release') return release;
      if (property === Symbol.dispose) return () => void release();
      if (property === Symbol.asyncDispose) return release;
      if (property === 'signal') {
        signal ??= signalOfAny([outer, inner]);
        void inner.signal; // A look at the engine's clock.
        return signal;
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

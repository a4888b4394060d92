/** What a lock on one machine and one between machines have in common. `await` works on all of it. */
import type { LockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';

export interface Lock {
  /** Of an `InterProcessLock`, its path. */
  readonly name: string;
  /** Whether a handle of this object holds it. */
  readonly held: boolean;
  acquire(options?: AcquireOptions): Promise<LockHandle>;
  tryAcquire(): LockHandle | null | Promise<LockHandle | null>;
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>;
  close(): void;
}

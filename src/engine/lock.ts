/** What a lock on one machine and one between machines have in common. `await` works on all of it. */
import type { LockHandle } from '../core/handle.js';
import type { AcquireOptions } from '../options.js';

/** Texts beside a lock, by key: see `Engine.readRecord`. */
export interface LockRecords {
  read(key: string): Promise<string | undefined>;
  write(key: string, text: string): Promise<void>;
}

export interface Lock {
  /** Of an `InterProcessLock`, its path. */
  readonly name: string;
  /** Whether a handle of this object holds it. */
  readonly held: boolean;
  acquire(options?: AcquireOptions): Promise<LockHandle>;
  tryAcquire(): LockHandle | null | Promise<LockHandle | null>;
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>;
  close(): void;
  /** Of a lock of an engine. */
  readonly records?: LockRecords;
}

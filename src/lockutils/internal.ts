/** The locks of lockutils within this process, by their names. */
import { type FifoMutex, LockError, type LockHandle, type ReaderWriterLock } from '../index.js';
import { FairLocks, Semaphores } from './containers.js';
import { check, type LockOptions } from './options.js';

/** `blocking: false`, and the lock is held. */
export class AcquireLockFailedException extends LockError {
  constructor(readonly lockName: string) {
    super('ERR_LOCK_ACQUIRE_FAILED', `Failed to acquire the lock ${lockName}`);
  }
}

const semaphores = new Semaphores();
const fairLocks = new FairLocks();

/** The lock within the process alone. With `blocking: false` its `acquire` fails instead of waiting. */
export function internalLock(
  name: string,
  options: Pick<LockOptions, 'semaphores' | 'blocking'> = {},
): Pick<FifoMutex, 'acquire' | 'tryAcquire' | 'withLock' | 'held'> {
  check(name, options);
  const mutex = (options.semaphores ?? semaphores).get(name);
  return options.blocking === false ? new NonBlocking(name, mutex) : mutex;
}

/** The reader/writer lock of that name, within the process. */
export function internalFairLock(name: string): ReaderWriterLock {
  return fairLocks.get(name);
}

/** Holds what is acquired while `run` runs. */
export async function during<T>(
  acquiring: Promise<LockHandle>,
  run: (handle: LockHandle) => T | PromiseLike<T>,
): Promise<T> {
  const handle = await acquiring;
  try {
    return await run(handle);
  } finally {
    handle.release();
  }
}

class NonBlocking {
  constructor(
    private readonly name: string,
    private readonly mutex: FifoMutex,
  ) {}

  get held(): boolean {
    return this.mutex.held;
  }

  tryAcquire(): LockHandle | null {
    return this.mutex.tryAcquire();
  }

  async acquire(): Promise<LockHandle> {
    const handle = this.mutex.tryAcquire();
    if (handle === null) throw new AcquireLockFailedException(this.name);
    return handle;
  }

  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T> {
    return during(this.acquire(), fn);
  }
}

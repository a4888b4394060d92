/** fairlock/lockutils: oslo.concurrency's lockutils. People name what they protect, not files. */
import { releaseAll, SeveralHandle } from '../core/several-handle.js';
import { type AsyncDecorator, decorator } from '../decorators/decorate.js';
import { shown } from '../errors.js';
import type { FifoMutex, LockHandle, ReaderWriterLock } from '../index.js';
import { monotonic } from '../timers.js';
import { externalLock } from './external.js';
import { AcquireLockFailedException, during, internalFairLock, internalLock } from './internal.js';
import { tell } from './log.js';
import { check, type LockOptions, limitsOf } from './options.js';
import { isProcessLockingDisabled } from './settings.js';

export { ReaderWriterLock } from '../index.js';
export { FairLocks, Semaphores } from './containers.js';
export { externalLock, removeExternalLockFile, removeExternalLockFileWithPrefix } from './external.js';
export { AcquireLockFailedException, internalFairLock, internalLock } from './internal.js';
export type { LockEvent } from './log.js';
export type { LockOptions } from './options.js';
export { getLockPath, type LockutilsDefaults, OSLO_LOCK_PATH, setDefaults } from './settings.js';

/**
 * Takes the lock of that name: the internal one, which excludes the other tasks of this process, and with `external`
 * then the file's, which excludes other processes. Not re-entrant.
 * @throws {AcquireLockFailedException} `blocking: false`, and it would have to wait
 * @throws {LockTimeoutError} `timeout` ms are over, for both together
 * @throws {TypeError} `external` without a lock path; before anything is taken
 */
export function lock(name: string, options: LockOptions = {}): Promise<LockHandle> {
  return acquire(name, options, undefined);
}

/** Holds the lock while `fn` runs. */
export async function withLock<T>(name: string, fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
export async function withLock<T>(
  name: string,
  options: LockOptions,
  fn: (handle: LockHandle) => T | PromiseLike<T>,
): Promise<T>;
export async function withLock<T>(
  name: string,
  options: LockOptions | ((handle: LockHandle) => T | PromiseLike<T>),
  fn?: (handle: LockHandle) => T | PromiseLike<T>,
): Promise<T> {
  const [given, run] = typeof options === 'function' ? [{}, options] : [options, fn];
  if (typeof options === 'function' && fn !== undefined) {
    throw new TypeError(
      `options: they come before the function, withLock(name, options, fn); got ${shown(fn)} after it`,
    );
  }
  if (typeof run !== 'function') throw new TypeError(`fn: expected a function, got ${shown(run)}`);
  return during(acquire(name, given, undefined), run);
}

/** A decorator, or a wrapper of functions: only one call at a time runs. */
export function synchronized(name: string, options: LockOptions = {}): AsyncDecorator {
  check(name, options);
  return decorator((_self, _args, run, by) => during(acquire(name, options, by || undefined), run));
}

/** `lock` with a prefix for its files: `const lock = lockWithPrefix('nova')`. */
export function lockWithPrefix(lockFilePrefix: string): typeof lock {
  return (name, options) => lock(name, { lockFilePrefix, ...options });
}

/** `synchronized` with a prefix for its files. */
export function synchronizedWithPrefix(lockFilePrefix: string): typeof synchronized {
  return (name, options) => synchronized(name, { lockFilePrefix, ...options });
}

async function acquire(name: string, options: LockOptions, by: string | undefined): Promise<LockHandle> {
  check(name, options);
  const { external = false, doLog = true, blocking = true, fair = false } = options;
  const between = external && !isProcessLockingDisabled() ? externalLock(name, options) : undefined;
  const log = doLog ? tell : () => {};
  const told = { name, external: between !== undefined, ...(by === undefined ? {} : { by }) };
  const limits = limitsOf(options);
  const began = monotonic();
  log({ event: 'acquiring', ...told });
  const held: LockHandle[] = [];
  try {
    const locks: (Pick<FifoMutex, 'acquire' | 'tryAcquire'> | undefined)[] = [
      internalLock(name, options.semaphores === undefined ? {} : { semaphores: options.semaphores }),
      // Code that uses the fair lock of that name directly is excluded as well.
      fair && options.semaphores === undefined ? writeSide(internalFairLock(name)) : undefined,
      between,
    ];
    for (const one of locks) {
      if (one === undefined) continue;
      const handle = blocking ? await one.acquire(limits()) : one.tryAcquire();
      if (handle === null) throw new AcquireLockFailedException(name);
      held.push(handle);
    }
  } catch (error) {
    releaseAll(held);
    log({ event: 'failed', ...told, waited: monotonic() - began });
    throw error;
  }
  const waited = monotonic() - began;
  log({ event: 'acquired', ...told, waited });
  const released = (): void => log({ event: 'released', ...told, held: monotonic() - began - waited });
  // The last one taken is what other processes see.
  return new SeveralHandle(held, held.at(-1), released);
}

function writeSide(lock: ReaderWriterLock): Pick<FifoMutex, 'acquire' | 'tryAcquire'> {
  return { acquire: (options) => lock.acquireWrite(options), tryAcquire: () => lock.tryAcquireWrite() };
}

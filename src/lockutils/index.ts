/** fairlock/lockutils: oslo.concurrency's lockutils. People name what they protect, not files. */
import { existsSync } from 'node:fs';
import { type AsyncDecorator, decorator } from '../decorators/decorate.js';
import { codeOf, messageOf, shown } from '../errors.js';
import {
  type AcquireOptions,
  type FifoMutex,
  InterProcessLock,
  type InterProcessLockOptions,
  LockError,
  type LockHandle,
  type ReaderWriterLock,
} from '../index.js';
import { Deadline, monotonic } from '../timers.js';
import { optionsObject } from '../validate.js';
import { FairLocks, Semaphores } from './containers.js';
import { tell } from './log.js';
import { externalLockFile, isProcessLockingDisabled } from './settings.js';

export { ReaderWriterLock } from '../index.js';
export { FairLocks, Semaphores } from './containers.js';
export type { LockEvent } from './log.js';
export { getLockPath, type LockutilsDefaults, OSLO_LOCK_PATH, setDefaults } from './settings.js';

export interface LockOptions extends Pick<AcquireOptions, 'timeout' | 'signal'> {
  /** Put before the name of the lock file. No part of the internal lock's name. */
  lockFilePrefix?: string | undefined;
  /** Exclude other processes too. @default false */
  external?: boolean | undefined;
  /** The folder of the lock file. @default that of setDefaults(), or OSLO_LOCK_PATH */
  lockPath?: string | undefined;
  /** Tell of it: NODE_DEBUG=fairlock and the diagnostics channel `fairlock:lockutils`. @default true */
  doLog?: boolean | undefined;
  /** The container of the internal lock. @default one for all */
  semaphores?: Semaphores | undefined;
  /** Upstream the time between two attempts. Accepted and without effect: nothing is polled. */
  delay?: number | undefined;
  /** With `external`: strictly first come, first served between processes too. Within this one it always is. */
  fair?: boolean | undefined;
  /** Whether to wait. If not, failure is `AcquireLockFailedException`. @default true */
  blocking?: boolean | undefined;
}

/** `blocking: false`, and the lock is held. */
export class AcquireLockFailedException extends LockError {
  constructor(readonly lockName: string) {
    super('ERR_LOCK_ACQUIRE_FAILED', `Failed to acquire the lock ${lockName}`);
  }
}

const LOCK_OPTIONS = [
  'lockFilePrefix',
  'external',
  'lockPath',
  'doLog',
  'semaphores',
  'delay',
  'fair',
  'blocking',
  'timeout',
  'signal',
] as const satisfies (keyof LockOptions)[];

const semaphores = new Semaphores();
const fairLocks = new FairLocks();

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

/**
 * The lock between processes alone, by the same file and the same kind of lock (`fcntl`) as upstream.
 * Where `fcntl` is not available (no addon), the lock falls back to what is, with a warning: it does not exclude Python
 * services then.
 */
export function externalLock(
  name: string,
  options: Pick<LockOptions, 'lockFilePrefix' | 'lockPath' | 'fair'> = {},
): InterProcessLock {
  check(name, options);
  return externalLockOn(externalLockFile(name, options.lockFilePrefix, options.lockPath), {
    fairness: options.fair ? 'auto' : 'kernel',
  });
}

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

/**
 * Removes the file of an external lock that is not needed any more. Takes the lock first, so that it never makes two
 * holders among processes that check that their file is still there. Python's fasteners does not: a process of it that
 * already waits for the removed file gets the lock of that file. As upstream, a file that cannot be removed is logged
 * (event `not removed`), and no error.
 * @throws {LockTimeoutError} `timeout` ms are over; the reason of `signal`
 */
export async function removeExternalLockFile(
  name: string,
  options: Pick<LockOptions, 'lockFilePrefix' | 'lockPath' | 'semaphores' | 'timeout' | 'signal'> = {},
): Promise<void> {
  check(name, options);
  const path = externalLockFile(name, options.lockFilePrefix, options.lockPath);
  const limits = limitsOf(options);
  const inside = await internalLock(name, options).acquire(limits());
  try {
    if (existsSync(path)) (await externalLockOn(path, { unlinkOnRelease: true }).acquire(limits())).release();
    if (existsSync(path)) tell({ event: 'not removed', name, external: true });
  } catch (error) {
    // As upstream: a file that cannot be removed is logged. Giving up the wait is the caller's own doing.
    if (isAbandoned(error, options)) throw error;
    tell({ event: 'not removed', name, external: true, error: messageOf(error) });
  } finally {
    inside.release();
  }
}

/** `removeExternalLockFile` with a prefix. */
export function removeExternalLockFileWithPrefix(lockFilePrefix: string): typeof removeExternalLockFile {
  return (name, options) => removeExternalLockFile(name, { lockFilePrefix, ...options });
}

function isAbandoned(error: unknown, { signal }: Pick<LockOptions, 'signal'>): boolean {
  return codeOf(error) === 'ERR_LOCK_TIMEOUT' || signal?.aborted === true;
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
      fair && options.semaphores === undefined ? writeSide(fairLocks.get(name)) : undefined,
      between,
    ];
    for (const one of locks) {
      if (one === undefined) continue;
      const handle = blocking ? await one.acquire(limits()) : one.tryAcquire();
      if (handle === null) throw new AcquireLockFailedException(name);
      held.push(handle);
    }
  } catch (error) {
    for (const handle of held.reverse()) handle.release();
    log({ event: 'failed', ...told, waited: monotonic() - began });
    throw error;
  }
  const waited = monotonic() - began;
  log({ event: 'acquired', ...told, waited });
  return new StackedHandle(held, () => log({ event: 'released', ...told, held: monotonic() - began - waited }));
}

async function during<T>(acquiring: Promise<LockHandle>, run: (handle: LockHandle) => T | PromiseLike<T>): Promise<T> {
  const handle = await acquiring;
  try {
    return await run(handle);
  } finally {
    handle.release();
  }
}

/** What is left of the timeout, each time it is asked. */
function limitsOf({ timeout, signal }: Pick<LockOptions, 'timeout' | 'signal'>): () => AcquireOptions {
  const deadline = new Deadline(timeout ?? Infinity);
  return () => ({
    ...deadline.options,
    ...(signal === undefined ? {} : { signal }),
  });
}

function writeSide(lock: ReaderWriterLock): Pick<FifoMutex, 'acquire' | 'tryAcquire'> {
  return { acquire: (options) => lock.acquireWrite(options), tryAcquire: () => lock.tryAcquireWrite() };
}

let warned = false;

function externalLockOn(path: string, options: InterProcessLockOptions): InterProcessLock {
  try {
    return new InterProcessLock(path, { ...options, mechanism: 'fcntl' });
  } catch (error) {
    if (codeOf(error) !== 'ERR_LOCK_UNSUPPORTED') throw error;
    const fallback = new InterProcessLock(path, options);
    if (!warned) {
      warned = true;
      process.emitWarning(
        `${messageOf(error)}. External locks use '${fallback.mechanism}' instead, which Python's lockutils ` +
          `and fasteners do not see`,
        {
          type: 'FairlockWarning',
          code: 'FAIRLOCK_NO_FCNTL',
        },
      );
    }
    return fallback;
  }
}

function check(name: unknown, options: unknown): void {
  if (typeof name !== 'string' || name === '')
    throw new TypeError(`name: expected a string that is not empty, got ${shown(name)}`);
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`options: expected an object, got ${shown(options)}`);
  const given = optionsObject<Record<string, unknown>>(options, LOCK_OPTIONS);
  for (const key of ['external', 'doLog', 'fair', 'blocking']) {
    if (given[key] !== undefined && typeof given[key] !== 'boolean')
      throw new TypeError(`${key}: expected true or false, got ${shown(given[key])}`);
  }
  for (const key of ['lockFilePrefix', 'lockPath']) {
    if (given[key] !== undefined && typeof given[key] !== 'string')
      throw new TypeError(`${key}: expected a string, got ${shown(given[key])}`);
  }
  for (const key of ['delay', 'timeout']) {
    const value = given[key];
    if (value !== undefined && typeof value !== 'number')
      throw new TypeError(`${key}: expected a number, got ${shown(value)}`);
    if (typeof value === 'number' && !(value >= 0)) throw new RangeError(`${key}: expected 0 or more, got ${value}`);
  }
  if (given.semaphores !== undefined && !isContainer(given.semaphores))
    throw new TypeError('semaphores: expected a Semaphores container');
}

/** By what it does, not by its class: another copy of this library has its own. */
function isContainer(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'get' in value &&
    typeof value.get === 'function' &&
    'size' in value &&
    !('set' in value)
  );
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

/** The locks of one name as one: the outermost, that is the last one taken, is what is watched and shared. */
class StackedHandle implements LockHandle {
  readonly shared = false;
  readonly release: () => void;

  constructor(
    private readonly held: readonly LockHandle[],
    released: () => void,
  ) {
    this.release = () => {
      if (this.released) return;
      for (const handle of [...held].reverse()) handle.release();
      released();
    };
  }

  get #outermost(): LockHandle {
    return this.held.at(-1) as LockHandle;
  }

  get released(): boolean {
    return this.#outermost.released;
  }

  get signal(): AbortSignal {
    return this.#outermost.signal;
  }

  check(): void {
    this.#outermost.check();
  }

  get fd(): number | undefined {
    return this.#outermost.fd;
  }

  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

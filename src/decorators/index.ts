/** fairlock/decorators: a lock around a method or function, as in fasteners. */
import {
  type AcquireOptions,
  InterProcessLock,
  type InterProcessLockOptions,
  InterProcessReaderWriterLock,
  type LockHandle,
} from '../index.js';
import { acquireOptions, withoutUndefined } from '../validate.js';
import { type AsyncDecorator, type AsyncMethodDecorator, decorator, isDecoration } from './decorate.js';

export type { AsyncDecorator, AsyncMethodDecorator, AsyncWrapper } from './decorate.js';

/** A path, or how to get it from `this` and the arguments of a call. */
export type PathOf<This, Args extends unknown[]> = string | URL | ((self: This, ...args: Args) => string | URL);

export type LockedOptions = InterProcessLockOptions & AcquireOptions;

interface Lockable {
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
}

interface ReadWriteLockable {
  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
}

/**
 * Only one process at a time runs the method, by an `InterProcessLock` on `path`.
 * @param path may be a function of `this` and the arguments: `@interProcessLocked((self: Service, id: string) => …)`
 * @param options those of `InterProcessLock` and of `acquire`; bad ones throw here, if the path is not a function
 */
export function interProcessLocked<This = unknown, Args extends unknown[] = unknown[]>(
  path: PathOf<This, Args>,
  options?: LockedOptions,
): AsyncDecorator {
  return byPath(path, options, InterProcessLock, (lock, run, waiting) => lock.withLock(run, waiting));
}

/** Many processes may run it at a time, but none together with one that is `interProcessWriteLocked` on the path. */
export function interProcessReadLocked<This = unknown, Args extends unknown[] = unknown[]>(
  path: PathOf<This, Args>,
  options?: LockedOptions,
): AsyncDecorator {
  return byPath(path, options, InterProcessReaderWriterLock, (lock, run, waiting) => lock.withReadLock(run, waiting));
}

/** Only one process at a time runs it, and none that is `interProcessReadLocked` on the path. */
export function interProcessWriteLocked<This = unknown, Args extends unknown[] = unknown[]>(
  path: PathOf<This, Args>,
  options?: LockedOptions,
): AsyncDecorator {
  return byPath(path, options, InterProcessReaderWriterLock, (lock, run, waiting) => lock.withWriteLock(run, waiting));
}

/** An attribute's name, how to get at a lock, or a list of them that is taken in order. @default '_lock' */
export type LockOf = string | ((self: never) => unknown) | readonly (string | ((self: never) => unknown))[];

/** `@locked` or `@locked('other')`; around a function, `locked('other')(fn)`. */
export type LockedDecorator = AsyncMethodDecorator & ((lock?: LockOf) => AsyncDecorator);

/** Takes the instance's lock (`this._lock`, or what is named) around the method. */
export const locked = byInstance((lock: Lockable, run) => lock.withLock(run), 'withLock');
/** Takes the instance's reader/writer lock for reading. */
export const readLocked = byInstance((lock: ReadWriteLockable, run) => lock.withReadLock(run), 'withReadLock');
/** Takes the instance's reader/writer lock for writing. */
export const writeLocked = byInstance((lock: ReadWriteLockable, run) => lock.withWriteLock(run), 'withWriteLock');

function byPath<Lock, This, Args extends unknown[]>(
  path: PathOf<This, Args>,
  options: LockedOptions | undefined,
  Kind: new (path: string | URL, options?: InterProcessLockOptions) => Lock,
  hold: <T>(lock: Lock, run: () => T | PromiseLike<T>, waiting: AcquireOptions) => Promise<T>,
): AsyncDecorator {
  const { timeout, signal, onWait, waitNotice, ...ofLock } = options ?? {};
  const waiting = withoutUndefined({ timeout, signal, onWait, waitNotice });
  acquireOptions(waiting);
  const create = (file: string | URL): Lock => new Kind(file, ofLock);
  const fixed = typeof path === 'function' ? undefined : create(path);
  const lockFor = (self: unknown, args: readonly unknown[]): Lock =>
    fixed ?? create((path as (self: This, ...args: Args) => string | URL)(self as This, ...(args as Args)));
  return decorator((self, args, run) => hold(lockFor(self, args), run, waiting));
}

function byInstance<Lock>(
  hold: <T>(lock: Lock, run: () => T | PromiseLike<T>) => Promise<T>,
  method: string,
): LockedDecorator {
  const withLocks = (where: LockOf): AsyncDecorator => {
    const places = Array.isArray(where)
      ? (where as readonly (string | ((self: unknown) => unknown))[])
      : [where as string | ((self: unknown) => unknown)];
    return decorator(<T>(self: unknown, _args: readonly unknown[], run: () => T | PromiseLike<T>) => {
      const locks = places.flatMap((place) => lockAt<Lock>(self, place, method));
      // The last one innermost: taken in order, released in reverse.
      const all = locks.reduceRight<() => T | PromiseLike<T>>((inner, lock) => () => hold(lock, inner), run);
      return all() as Promise<T>;
    });
  };
  const decorate = (...args: unknown[]): unknown => {
    if (isDecoration(args)) return (withLocks('_lock') as (...rest: unknown[]) => unknown)(...args);
    return withLocks((args[0] as LockOf | undefined) ?? '_lock');
  };
  return decorate as LockedDecorator;
}

function lockAt<Lock>(self: unknown, place: string | ((self: unknown) => unknown), method: string): Lock[] {
  const found = typeof place === 'function' ? place(self) : (self as Record<string, unknown> | undefined)?.[place];
  const name = typeof place === 'function' ? 'the lock function' : `this.${place}`;
  const locks: unknown[] = Array.isArray(found) ? found : [found];
  for (const lock of locks) {
    if (typeof (lock as Record<string, unknown> | null | undefined)?.[method] !== 'function') {
      throw new TypeError(`${name}: expected a lock with ${method}(), got ${lock === null ? 'null' : typeof lock}`);
    }
  }
  return locks as Lock[];
}

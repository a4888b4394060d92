/** Work that one of many processes does, once, while the others wait for its outcome. */
import { throwIfAborted } from '../abort.js';
import { LockError, shown } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessLock,
  type InterProcessLockOptions,
  type Lock,
  type LockHandle,
} from '../index.js';
import { ACQUIRE_OPTIONS, callback, optionsObject, withoutUndefined } from '../validate.js';
import { isFileLock, isLock } from './any-lock.js';
import { type Done, EngineOutcomes, type Failure, FileOutcomes, type Keeping, type Outcomes } from './outcomes.js';
import { checkedPlace, isHeld, placeFor } from './record-place.js';

export interface RunOnceOptions
  extends AcquireOptions,
    Pick<InterProcessLockOptions, 'mechanism' | 'mode' | 'ignoreUmask' | 'followSymlinks'> {
  /** What is done once: the name of a release, a migration, a boot. A key that was not there before runs `fn` again. */
  key: string;
  /**
   * What to do about a failure of the one that ran `fn` while this call was waiting: reject with the same error, or
   * run `fn` here. A call that comes after the failure always runs it.
   * @default 'pass'
   */
  onFailure?: 'pass' | 'retry' | undefined;
  /** How long an outcome counts, in ms: after that `fn` runs again. @default Infinity */
  keepFor?: number | undefined;
  /**
   * How many outcomes are kept beside this lock at least, the last ones; older ones are removed from time to time, and
   * their keys run again. Of a lock file only. @default Infinity
   */
  keepLast?: number | undefined;
}

const ONCE_OPTIONS = [
  ...['key', 'onFailure', 'keepFor', 'keepLast', 'mechanism', 'mode', 'ignoreUmask', 'followSymlinks'],
  ...ACQUIRE_OPTIONS,
];

/**
 * Of all processes that call it with this path and key one runs `fn`; the others wait and get what it returned. Later
 * calls get it at once. If the process that runs `fn` dies, the next waiter runs it. It counts as done when its outcome
 * is on the disk, in a folder beside the lock file: if the process is killed between the last step of `fn` and that,
 * the next one runs it again. What can be known before `fn` runs (names, permissions, some space) is checked before. An
 * outcome of more than 4 KB that does not fit on the disk all the same, or of more than 16 MiB, is lost, but `fn` is not
 * run again.
 *
 * The outcome must be what JSON can express. All callers get it as JSON gives it back, the one that ran `fn` too. A call
 * costs the same however many keys there are.
 *
 * @throws what `fn` throws: to all that were waiting, as an error of the same name, message and code
 * @throws {TypeError} the outcome cannot be expressed in JSON (this is passed on like a failure)
 * @throws {RecordDamagedError} the record cannot be read: `fn` is not run, since it may have been done
 * @throws {LockLostError} the lock was lost while `fn` ran: another process may have run it too. Nothing is recorded
 * @throws {LockMismatchError} the lock file has a second name, by a hard link or a mount: there would be two records
 * @throws {LockError} `ERR_LOCK_OUTCOME_LOST`: done once, but the outcome could not be stored
 * @throws what `InterProcessLock.acquire` throws
 */
export async function runOnce<T>(
  path: string | URL | Lock,
  fn: (handle: LockHandle) => T | PromiseLike<T>,
  options: RunOnceOptions,
): Promise<T> {
  callback(fn);
  const given = optionsObject<Partial<RunOnceOptions>>(options, ONCE_OPTIONS);
  const { key, onFailure = 'pass', keepFor, keepLast, ...others } = given;
  const { mechanism, mode, ignoreUmask, followSymlinks, ...waiting } = others;
  if (typeof key !== 'string') throw new TypeError(`key: expected a string, got ${shown(key)}`);
  if (onFailure !== 'pass' && onFailure !== 'retry')
    throw new TypeError(`onFailure: expected 'pass' or 'retry', got ${shown(onFailure)}`);
  for (const [name, value] of Object.entries({ keepFor, keepLast }))
    if (value !== undefined && !(typeof value === 'number' && value >= 1))
      throw new RangeError(`${name}: expected a number of at least 1, got ${shown(value)}`);
  const ofLock = withoutUndefined({ mechanism, fairness: 'auto' as const, mode, ignoreUmask, followSymlinks });
  const lock: Lock | InterProcessLock = isLock(path) ? path : new InterProcessLock(path, ofLock);
  const outcomes = outcomesOf(lock, { keepFor, keepLast });

  const asked = await outcomes.read(key);
  if (asked?.done) return stored<T>(asked, lock.name);
  const failuresBefore = asked?.failures ?? 0;
  return lock.withLock(async (handle) => {
    const { signal } = handle; // Watched from here on.
    if (isFileLock(lock)) checkedPlace(lock);
    const found = await outcomes.read(key);
    if (found?.done) return stored<T>(found, lock.name);
    const failures = found?.failures ?? 0;
    if (found !== undefined && failures > failuresBefore && onFailure === 'pass') throw revived(found.error);
    const reservation = await outcomes.reserve(key, () => isHeld(handle));
    try {
      let value: unknown;
      try {
        value = asJson(await fn(handle));
      } catch (error) {
        await reservation.fail({ done: false, failures: failures + 1, error: described(error) });
        throw error;
      }
      throwIfAborted(signal);
      handle.check();
      const done = await reservation.commit({ done: true, value });
      return done.unstored === undefined ? (done.value as T) : (value as T);
    } finally {
      reservation.end();
    }
  }, waiting);
}

function outcomesOf(lock: Lock | InterProcessLock, keeping: Keeping): Outcomes {
  if (isFileLock(lock)) {
    const place = placeFor(lock);
    return new FileOutcomes(place, place.options, keeping);
  }
  if (lock.records === undefined) throw new TypeError('runOnce: this lock has no place for outcomes (records)');
  if (keeping.keepLast !== undefined)
    throw new TypeError('keepLast: only for locks on files; a lock service keeps all');
  return new EngineOutcomes(lock.records, keeping);
}

function stored<T>({ value, unstored }: Done, path: string): T {
  if (unstored === undefined) return value as T;
  throw new LockError(
    'ERR_LOCK_OUTCOME_LOST',
    `the work was done once, but its outcome could not be stored (${unstored})`,
    path,
  );
}

function asJson(value: unknown): unknown {
  if (value === undefined) return undefined;
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`the outcome cannot be expressed in JSON: it is ${shown(value)}`);
  return JSON.parse(text);
}

function described(error: unknown): Failure {
  if (typeof error !== 'object' || error === null || !('message' in error))
    return { name: 'Error', message: String(error) };
  const { name, message, stack, code } = error as Partial<NodeJS.ErrnoException>;
  return {
    name: String(name ?? 'Error'),
    message: String(message),
    stack: typeof stack === 'string' ? stack : undefined,
    code: typeof code === 'string' ? code : undefined,
  };
}

function revived({ name, message, stack, code }: Failure): Error {
  const error = new Error(message);
  // Quietly, as on the error that it was.
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  if (stack !== undefined) Object.defineProperty(error, 'stack', { value: stack, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

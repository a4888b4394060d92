/** Work that one of many processes does, once, while the others wait for its outcome. */
import { throwIfAborted } from '../abort.js';
import { LockError, messageOf, shown } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessLock,
  type InterProcessLockOptions,
  type Lock,
  type LockHandle,
} from '../index.js';
import { canonicalPath, siblingPath } from '../inspect/index.js';
import { ACQUIRE_OPTIONS, callback, lockOptions, optionsObject, withoutUndefined } from '../validate.js';
import { isFileLock, isLock } from './any-lock.js';
import { RecordFile, type RecordOptions } from './record.js';
import { recordPlace } from './record-place.js';

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
}

interface Failure {
  name: string;
  message: string;
  stack?: string | undefined;
  code?: string | undefined;
}

/** What is known of a key. */
type Outcome = { done: true; value?: unknown; unstored?: string } | { done: false; failures: number; error: Failure };

interface Outcomes {
  keys: Record<string, Outcome>;
}

/** Room that is made for an outcome before `fn` runs. */
const OUTCOME_BYTES = 4096;
const ONCE_OPTIONS = ['key', 'onFailure', 'mechanism', 'mode', 'ignoreUmask', 'followSymlinks', ...ACQUIRE_OPTIONS];

/**
 * Of all processes that call it with this path and key one runs `fn`; the others wait and get what it returned. Later
 * calls get it at once. If the process that runs `fn` dies, the next waiter runs it. It counts as done when its outcome
 * is on the disk, in a record beside the lock file: if the process is killed between the last step of `fn` and that,
 * the next one runs it again. What can be known before `fn` runs (the record's name, permissions, some space for it) is
 * checked before. An outcome of more than 4 KB that does not fit on the disk all the same is lost, but `fn` is not run
 * again.
 *
 * The outcome must be what JSON can express. All callers get it as JSON gives it back, the one that ran `fn` too.
 *
 * @throws what `fn` throws: to all that were waiting, as an error of the same name, message and code
 * @throws {TypeError} the outcome cannot be expressed in JSON (this is passed on like a failure)
 * @throws {RecordDamagedError} the record cannot be read: `fn` is not run, since it may have been done
 * @throws {LockLostError} the lock was lost while `fn` ran: another process may have run it too
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
  const { key, onFailure = 'pass', mechanism, mode, ignoreUmask, followSymlinks, ...waiting } = given;
  if (typeof key !== 'string') throw new TypeError(`key: expected a string, got ${shown(key)}`);
  if (onFailure !== 'pass' && onFailure !== 'retry')
    throw new TypeError(`onFailure: expected 'pass' or 'retry', got ${shown(onFailure)}`);
  const lockGiven = withoutUndefined({ mechanism, fairness: 'auto' as const, mode, ignoreUmask, followSymlinks });
  const lock: Lock | InterProcessLock = isLock(path) ? path : new InterProcessLock(path, lockGiven);
  if (!isFileLock(lock)) return runOnceOn(lock, fn, key, onFailure, waiting);
  const resolved = lockOptions(lockGiven);

  const asked = outcomeOf(recordAt(canonicalPath(lock.path, resolved.followSymlinks), resolved), key);
  if (asked?.done) return stored<T>(asked, lock.path);
  const failuresBefore = asked?.failures ?? 0;
  return lock.withLock(async (handle) => {
    const record = recordAt(recordPlace(lock.path, resolved.followSymlinks), resolved);
    const found = outcomeOf(record, key);
    if (found?.done) return stored<T>(found, lock.path);
    const failures = found?.failures ?? 0;
    if (found !== undefined && failures > failuresBefore && onFailure === 'pass') throw revived(found.error);
    // Whatever can keep the outcome from being recorded comes out now, not when fn has run.
    const draft = record.reserve(OUTCOME_BYTES);
    const set = (outcome: Outcome): void => {
      // Not by assignment: a key may be called __proto__.
      draft.commit({ keys: Object.fromEntries([...Object.entries(record.read()?.keys ?? {}), [key, outcome]]) });
    };
    const { signal } = handle;
    try {
      let value: unknown;
      try {
        value = asJson(await fn(handle));
      } catch (error) {
        if (!signal.aborted) quietly(() => set({ done: false, failures: failures + 1, error: described(error) }));
        throw error;
      }
      throwIfAborted(signal);
      try {
        set({ done: true, value });
      } catch (error) {
        // fn has run and must not run again: there is room for saying that.
        set({ done: true, unstored: messageOf(error) });
      }
      return value as T;
    } finally {
      quietly(draft.discard);
    }
  }, waiting);
}

/** The same, with the outcomes in the engine of the lock. */
async function runOnceOn<T>(
  lock: Lock,
  fn: (handle: LockHandle) => T | PromiseLike<T>,
  key: string,
  onFailure: 'pass' | 'retry',
  waiting: AcquireOptions,
): Promise<T> {
  const { records } = lock;
  if (records === undefined) throw new TypeError('runOnce: this lock has no place for outcomes (records)');
  const read = async (): Promise<Outcome | undefined> => {
    const text = await records.read(key);
    return text === undefined ? undefined : (JSON.parse(text) as Outcome);
  };
  const asked = await read();
  if (asked?.done) return stored<T>(asked, lock.name);
  const failuresBefore = asked?.failures ?? 0;
  return lock.withLock(async (handle) => {
    const found = await read();
    if (found?.done) return stored<T>(found, lock.name);
    const failures = found?.failures ?? 0;
    if (found !== undefined && failures > failuresBefore && onFailure === 'pass') throw revived(found.error);
    const set = (outcome: Outcome): Promise<void> => records.write(key, JSON.stringify(outcome));
    let value: unknown;
    try {
      value = asJson(await fn(handle));
    } catch (error) {
      const failure: Outcome = { done: false, failures: failures + 1, error: described(error) };
      if (!handle.signal.aborted) await set(failure).catch(() => {});
      throw error;
    }
    throwIfAborted(handle.signal);
    await set({ done: true, value });
    return value as T;
  }, waiting);
}

function recordAt(canonical: string, options: RecordOptions): RecordFile<Outcomes> {
  const remedy = 'it says what was done already: repair it, or remove it to have everything done again';
  return new RecordFile<Outcomes>(siblingPath(canonical, 'once'), 'fairlock-once 1', isOutcomes, remedy, options);
}

function outcomeOf(record: RecordFile<Outcomes>, key: string): Outcome | undefined {
  const keys = record.read()?.keys ?? {};
  return Object.hasOwn(keys, key) ? keys[key] : undefined;
}

function stored<T>({ value, unstored }: Extract<Outcome, { done: true }>, path: string): T {
  if (unstored === undefined) return value as T;
  throw new LockError(
    'ERR_LOCK_OUTCOME_LOST',
    `the work was done once, but its outcome could not be stored (${unstored})`,
    path,
  );
}

function quietly(step: () => void): void {
  try {
    step();
  } catch {
    // What matters more is thrown already, or done.
  }
}

function isOutcomes({ keys }: Partial<Outcomes>): boolean {
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) return false;
  return Object.values(keys).every(
    (one) =>
      one?.done === true || (one?.done === false && Number.isInteger(one.failures) && typeof one.error === 'object'),
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

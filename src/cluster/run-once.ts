/** Work that one of many processes does, once, while the others wait for its outcome. */
import { shown } from '../errors.js';
import { besides, canonicalPath } from '../file/paths.js';
import { type AcquireOptions, InterProcessLock, type InterProcessLockOptions, type LockHandle } from '../index.js';
import { callback, lockOptions, optionsObject, withoutUndefined } from '../options.js';
import { RecordFile } from './record.js';

export interface RunOnceOptions extends AcquireOptions, Pick<InterProcessLockOptions, 'mechanism' | 'mode' | 'followSymlinks'> {
  /** What is done once: the name of a release, a migration, a boot. A key that was not there before runs `fn` again. */
  key: string;
  /**
   * What to do about a failure of the one that ran `fn` while this call was waiting: reject with the same error, or
   * run `fn` here. A call that comes after the failure always runs it.
   * @default 'pass'
   */
  onFailure?: 'pass' | 'retry';
}

interface Failure {
  name: string;
  message: string;
  stack?: string | undefined;
  code?: string | undefined;
}

/** What is known of a key. */
type Outcome = { done: true; value?: unknown } | { done: false; failures: number; error: Failure };

interface Outcomes {
  keys: Record<string, Outcome>;
}

/**
 * Of all processes that call it with this path and key one runs `fn`; the others wait and get what it returned. Later
 * calls get it at once. If the one that runs `fn` dies, the next one in line runs it. It counts as done when its outcome
 * is on the disk, in a record beside the lock file: who is killed between the last step of `fn` and that lets the next
 * one run it again.
 *
 * The outcome must be what JSON can express, and comes back to everybody, the one that ran `fn` included, as JSON gives
 * it back.
 *
 * @throws what `fn` throws: to all that were waiting, as an error of the same name, message and code
 * @throws {TypeError} the outcome cannot be expressed in JSON (this is passed on like a failure)
 * @throws {RecordDamagedError} the record cannot be read: `fn` is not run, since it may have been done
 * @throws {LockLostError} the lock was lost while `fn` ran: somebody else may have run it too
 * @throws what `InterProcessLock.acquire` throws
 */
export async function runOnce<T>(path: string | URL, fn: (handle: LockHandle) => T | PromiseLike<T>, options: RunOnceOptions): Promise<T> {
  callback(fn);
  const { key, onFailure = 'pass', mechanism, mode, followSymlinks, ...waiting } = optionsObject<Partial<RunOnceOptions>>(options);
  if (typeof key !== 'string') throw new TypeError(`key: expected a string, got ${shown(key)}`);
  if (onFailure !== 'pass' && onFailure !== 'retry') throw new TypeError(`onFailure: expected 'pass' or 'retry', got ${shown(onFailure)}`);
  const given = withoutUndefined({ mechanism, fairness: 'auto' as const, mode, followSymlinks });
  const lock = new InterProcessLock(path, given);
  const record = recordOf(lock.path, given);

  const asked = record.of(key);
  if (asked?.done) return asked.value as T;
  const failuresBefore = asked?.failures ?? 0;
  return lock.withLock(async (handle) => {
    const found = record.of(key);
    if (found?.done) return found.value as T;
    const failures = found?.failures ?? 0;
    if (found !== undefined && failures > failuresBefore && onFailure === 'pass') throw revived(found.error);
    const { signal } = handle;
    let value: unknown;
    try {
      value = asJson(await fn(handle));
    } catch (error) {
      if (!signal.aborted) record.set(key, { done: false, failures: failures + 1, error: described(error) });
      throw error;
    }
    signal.throwIfAborted();
    record.set(key, { done: true, value });
    return value as T;
  }, waiting);
}

function recordOf(path: string, options: InterProcessLockOptions) {
  const { followSymlinks, mode } = lockOptions(options);
  const remedy = 'it says what was done already: mend it, or remove it to have everything done again';
  const file = new RecordFile<Outcomes>(besides(canonicalPath(path, followSymlinks), 'once'), 'fairlock-once 1', isOutcomes, remedy, mode);
  const read = (): Outcomes['keys'] => file.read()?.keys ?? {};
  return {
    of(key: string): Outcome | undefined {
      const keys = read();
      return Object.hasOwn(keys, key) ? keys[key] : undefined;
    },
    /** Only for the holder of the lock. */
    set(key: string, outcome: Outcome): void {
      // Not by assignment: a key may be called __proto__.
      file.write({ keys: Object.fromEntries([...Object.entries(read()), [key, outcome]]) });
    },
  };
}

function isOutcomes({ keys }: Partial<Outcomes>): boolean {
  if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) return false;
  return Object.values(keys).every(
    (one) => one?.done === true || (one?.done === false && Number.isInteger(one.failures) && typeof one.error === 'object'),
  );
}

function asJson(value: unknown): unknown {
  if (value === undefined) return undefined;
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`the outcome cannot be expressed in JSON: it is ${shown(value)}`);
  return JSON.parse(text);
}

function described(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack } = error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { name, message, stack, code };
}

function revived({ name, message, stack, code }: Failure): Error {
  const error = new Error(message);
  // Quietly, as on the error that it was.
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  if (stack !== undefined) Object.defineProperty(error, 'stack', { value: stack, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

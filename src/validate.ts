/** Checks what users pass, and fills in the defaults. Touches no file. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isAbortSignal } from './abort.js';
import { shown } from './errors.js';
import { MOST_PERMITS } from './files/byte-layout.js';
import type {
  AcquireOptions,
  ByteRange,
  InterProcessLockOptions,
  InterProcessSemaphoreOptions,
  ResolvedLockOptions,
} from './options.js';

const LOCK_OPTIONS = [
  'mechanism',
  'fairness',
  'reentrant',
  'range',
  'mode',
  'ignoreUmask',
  'dataFile',
  'followSymlinks',
  'unlinkOnRelease',
  'stale',
  'update',
] as const satisfies (keyof InterProcessLockOptions)[];
const SEMAPHORE_OPTIONS = [
  'permits',
  'fairness',
  'mode',
  'ignoreUmask',
  'followSymlinks',
] as const satisfies (keyof InterProcessSemaphoreOptions)[];
export const ACQUIRE_OPTIONS = [
  'timeout',
  'signal',
  'onWait',
  'waitNotice',
] as const satisfies (keyof AcquireOptions)[];

const FAIRNESSES = ['kernel', 'fifo', 'auto'] as const;
const MECHANISMS = ['auto', 'flock', 'fcntl', 'lockfile'] as const;

export function lockPath(path: unknown): string {
  if (isUrl(path)) return lockPath(fileURLToPath(path.href));
  if (typeof path !== 'string') throw new TypeError(`path: expected a string or a file: URL, got ${shown(path)}`);
  // `import.meta.url` and the like: taken for a name it would be a folder `file:` below the current one.
  if (/^file:\/\//i.test(path))
    throw new TypeError(`path: got a file: URL as a string; give it as new URL(…), got ${shown(path)}`);
  if (path === '') throw new TypeError('path: expected a file name, got an empty string');
  if (path.includes('\0')) throw new TypeError(`path: must not contain NUL bytes, got ${shown(path)}`);
  return resolve(path);
}

export function lockOptions(options: unknown): ResolvedLockOptions {
  return resolveLockOptions(optionsObject<InterProcessLockOptions>(options, LOCK_OPTIONS));
}

function resolveLockOptions(given: InterProcessLockOptions): ResolvedLockOptions {
  const mechanism = oneOf('mechanism', given.mechanism ?? 'auto', MECHANISMS);
  const lockfileOnly = mechanism === 'lockfile' || mechanism === 'auto';
  for (const name of ['stale', 'update'] as const) {
    if (given[name] !== undefined && !lockfileOnly)
      throw new TypeError(`${name}: only for mechanism 'lockfile', not '${mechanism}'`);
  }
  if (given.range !== undefined && mechanism !== 'fcntl')
    throw new TypeError(`range: only for mechanism 'fcntl', not '${mechanism}'`);
  if (given.range !== undefined && given.unlinkOnRelease === true) {
    throw new TypeError('unlinkOnRelease: not with range, since removing the file needs the lock on all of it');
  }
  const stale = number('stale', given.stale ?? 10_000, 2000, 2 ** 31 - 1);
  return {
    mechanism,
    reentrant: boolean('reentrant', given.reentrant ?? false),
    fairness: oneOf('fairness', given.fairness ?? 'kernel', FAIRNESSES),
    range: given.range === undefined ? undefined : byteRange(given.range),
    stale,
    update: number('update', given.update ?? stale / 2, 1000, stale / 2),
    mode: integer('mode', given.mode ?? 0o666, 0, 0o777),
    ignoreUmask: boolean('ignoreUmask', given.ignoreUmask ?? false),
    dataFile: boolean('dataFile', given.dataFile ?? false),
    followSymlinks: boolean('followSymlinks', given.followSymlinks ?? false),
    unlinkOnRelease: boolean('unlinkOnRelease', given.unlinkOnRelease ?? false),
  };
}

export function semaphoreOptions(
  options: unknown,
): Pick<ResolvedLockOptions, 'fairness' | 'mode' | 'ignoreUmask' | 'followSymlinks'> & { permits: number } {
  const { permits, ...given } = optionsObject<Partial<InterProcessSemaphoreOptions>>(options, SEMAPHORE_OPTIONS);
  const { fairness, mode, ignoreUmask, followSymlinks } = resolveLockOptions({ ...given, mechanism: 'fcntl' });
  return { permits: integer('permits', permits, 1, MOST_PERMITS), fairness, mode, ignoreUmask, followSymlinks };
}

export function acquireOptions(options: unknown): AcquireOptions {
  const given = optionsObject<AcquireOptions>(options, ACQUIRE_OPTIONS);
  if (given.timeout !== undefined) timeout(given.timeout);
  if (given.signal !== undefined && !isAbortSignal(given.signal))
    throw new TypeError(`signal: expected an AbortSignal, got ${shown(given.signal)}`);
  if (given.onWait !== undefined && typeof given.onWait !== 'function')
    throw new TypeError(`onWait: expected a function, got ${shown(given.onWait)}`);
  if (given.waitNotice !== undefined) number('waitNotice', given.waitNotice, 0, Infinity);
  return given;
}

export function timeout(value: unknown): number {
  return number('timeout', value, 0, Infinity);
}

export function descriptor(value: unknown): number {
  return integer('fd', value, 0, 2 ** 31 - 1);
}

export function callback(fn: unknown): void {
  if (typeof fn !== 'function') throw new TypeError(`fn: expected a function, got ${shown(fn)}`);
}

/** @throws {TypeError} no object, or an option of another name than those `known`: it would have no effect */
export function optionsObject<T extends object>(options: unknown, known: readonly string[]): T {
  if (options === undefined) return {} as T;
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`options: expected an object, got ${shown(options)}`);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name))
      throw new TypeError(`${name}: there is no such option here${suggestion(name, known)}`);
  }
  return options as T;
}

function suggestion(name: string, known: readonly string[]): string {
  if ((ACQUIRE_OPTIONS as readonly string[]).includes(name)) return '; it is an option of acquire() and its like';
  if ((LOCK_OPTIONS as readonly string[]).includes(name)) return "; it is an option of the lock's constructor";
  const [nearest] = known
    .map((one) => ({ one, distance: editDistance(name.toLowerCase(), one.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  if (nearest === undefined) return '';
  const isClose =
    nearest.distance <= Math.max(2, name.length / 3) || nearest.one.startsWith(name) || name.startsWith(nearest.one);
  return isClose ? `; did you mean ${nearest.one}?` : `; there are: ${known.join(', ')}`;
}

/** Levenshtein's: how many letters to insert, remove or change. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const row = [i + 1];
    for (const [j, other] of [...b].entries()) {
      row.push(
        Math.min((row[j] ?? 0) + 1, (previous[j + 1] ?? 0) + 1, (previous[j] ?? 0) + (letter === other ? 0 : 1)),
      );
    }
    previous = row;
  }
  return previous.at(-1) ?? 0;
}

/** By what it has, not by its class: a URL of another realm is no instance of this one's. */
function isUrl(value: unknown): value is URL {
  return (
    typeof value === 'object' &&
    value !== null &&
    'href' in value &&
    'protocol' in value &&
    typeof value.href === 'string'
  );
}

/** An option that is there but undefined is as good as none: so that defaults apply. */
export function withoutUndefined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function byteRange(range: unknown): ByteRange {
  const { start, length } = optionsObject<Partial<ByteRange>>(range, ['start', 'length']);
  const from = integer('range.start', start, 0, Number.MAX_SAFE_INTEGER);
  if (length === Infinity) return { start: from, length };
  return { start: from, length: integer('range.length', length, 1, Number.MAX_SAFE_INTEGER - from) };
}

function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T;
  throw new TypeError(`${name}: expected ${allowed.map((one) => `'${one}'`).join(', ')}, got ${shown(value)}`);
}

function boolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name}: expected true or false, got ${shown(value)}`);
  return value;
}

function number(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name}: expected a number, got ${shown(value)}`);
  if (!(value >= min && value <= max)) throw new RangeError(`${name}: expected ${min} to ${max}, got ${value}`);
  return value;
}

function integer(name: string, value: unknown, min: number, max: number): number {
  const checked = number(name, value, min, max);
  if (!Number.isInteger(checked)) throw new RangeError(`${name}: expected a whole number, got ${checked}`);
  return checked;
}

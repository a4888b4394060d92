/** The options of lockutils: what they are, and whether they are good. */
import { shown } from '../errors.js';
import type { AcquireOptions } from '../index.js';
import { Deadline } from '../timers.js';
import { optionsObject } from '../validate.js';
import type { Semaphores } from './containers.js';

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

/** What is left of the timeout, each time it is asked. */
export function limitsOf({ timeout, signal }: Pick<LockOptions, 'timeout' | 'signal'>): () => AcquireOptions {
  const deadline = new Deadline(timeout ?? Infinity);
  return () => ({
    ...deadline.options,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** @throws {TypeError} @throws {RangeError} */
export function check(name: unknown, options: unknown): void {
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

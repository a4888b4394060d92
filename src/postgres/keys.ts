/** The advisory lock behind a name. */
import { createHash } from 'node:crypto';
import { Recent } from './recent.js';

/** `bigint`: one key of 64 bits; a pair: two of 32 bits. PostgreSQL keeps the two kinds apart. */
export type PostgresKey = bigint | readonly [number, number];

/** The first eight bytes of a hash: two names in 2^32 locks collide with a chance of one in two, and would exclude. */
export function keyOf(name: string): bigint {
  const known = keys.get(name);
  if (known !== undefined) return known;
  const key = createHash('sha256').update(`fairlock\0${name}`).digest().readBigInt64BE(0);
  keys.set(name, key);
  return key;
}

/** Those that were asked for lately: a hash takes as long as all else that is done here for an acquisition. */
const keys = new Recent<bigint>();

/** One for each permit of a semaphore. */
export function permitKeys(name: string, permits: number): bigint[] {
  return Array.from({ length: permits }, (_, permit) => keyOf(`${name}\0permit ${permit}`));
}

/** How a key is passed to PostgreSQL's functions, as parameters from `$first` on. */
export function parametersOf(key: PostgresKey, first = 1): { text: string; values: (string | number)[] } {
  if (typeof key === 'bigint') return { text: `$${first}::bigint`, values: [key.toString()] };
  return { text: `$${first}::int, $${first + 1}::int`, values: [...key] };
}

/** How `pg_locks` shows it. */
export function shownAs(key: PostgresKey): { classid: number; objid: number; objsubid: number } {
  if (typeof key !== 'bigint') return { classid: key[0] >>> 0, objid: key[1] >>> 0, objsubid: 2 };
  const bits = BigInt.asUintN(64, key);
  return { classid: Number(bits >> 32n), objid: Number(bits & 0xffff_ffffn), objsubid: 1 };
}

/** Another key of the same kind, for the queue of a semaphore. */
export function queueKeyOf(name: string): bigint {
  return keyOf(`${name}\0queue`);
}

/** What `console.log` and `JSON.stringify` show of a lock or handle: short, and nothing of its inside. */
import type { InspectOptions, inspect } from 'node:util';

/** Node's `util.inspect.custom`, which is registered so that no import is needed. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never;

/** @param util as Node gives it to the method; other runtimes may not */
export function inspectAs(
  value: object,
  name: string,
  options: InspectOptions,
  util: typeof inspect | undefined,
): string {
  return `${name} ${util === undefined ? JSON.stringify(value) : util(value, options)}`;
}

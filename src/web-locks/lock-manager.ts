/** The interface, and the order in which arguments are converted and checked. */
import { isAbortSignal, throwIfAborted } from '../abort.js';
import { MOVED } from '../following-wait.js';
import { canonicalPath, MOST_MOVES, movesTooOften } from '../inspect/index.js';
import { lockPath } from '../validate.js';
import { Directory, type RequestOptions } from './directory.js';
import type { LockMode } from './lock.js';
import type { LockGrantedCallback, LockManagerSnapshot, LockOptions } from './types.js';

/** Also for programs that are compiled with `exactOptionalPropertyTypes`. */
type OrUndefined<T> = { [K in keyof T]?: T[K] | undefined };

const MODES: readonly unknown[] = ['exclusive', 'shared'] satisfies LockMode[];

/**
 * The Web Locks API (https://www.w3.org/TR/web-locks/) for all processes that use a directory: `navigator.locks`
 * between processes.
 *
 * Requests for a name are granted first come, first served, shared ones together: strictly within a thread, and between
 * processes where strict order is available (Linux with the addon), else in the kernel's order. A lock is held until
 * the promise that the callback returns is settled; a process that dies releases it.
 */
export class LockManager {
  readonly #given: string;

  /**
   * @param directory where the lock files are; made if need be when a lock is first taken. Keep it for this
   * @throws {TypeError} a bad argument
   */
  constructor(directory: string | URL) {
    this.#given = lockPath(directory);
  }

  /** Its links are followed for each request: they may be pointed elsewhere. */
  get #path(): string {
    return canonicalPath(this.#given, true);
  }

  /**
   * Calls back with the lock, when it is granted, and holds it until what the callback returns is settled.
   * @throws {TypeError} a mode, signal, options or callback that is none
   * @throws {DOMException} NotSupportedError: a name that begins with `-`, options that exclude each other; AbortError:
   * the lock was stolen
   * @throws the reason of `signal`; what the callback throws; errors of the file system
   */
  request<T>(name: string, callback: LockGrantedCallback<T>): Promise<Awaited<T>>;
  request<T>(name: string, options: OrUndefined<LockOptions>, callback: LockGrantedCallback<T>): Promise<Awaited<T>>;
  async request<T>(
    name: string,
    second: OrUndefined<LockOptions> | LockGrantedCallback<T>,
    ...rest: unknown[]
  ): Promise<Awaited<T>> {
    // An async function: whatever is wrong is a rejection, as for every operation that returns a promise.
    const converted = `${name}`;
    const options = rest.length === 0 ? {} : dictionary(second);
    const callback = rest.length === 0 ? second : rest[0];
    if (typeof callback !== 'function') throw new TypeError('request: the callback is not a function');
    const checked = check({ name: converted, ...options });
    for (let moves = 0; moves < MOST_MOVES; moves++) {
      const path = this.#path;
      const isThere = (): boolean => this.#path === path;
      try {
        return await Directory.at(path).request(checked, callback as LockGrantedCallback<T>, isThere);
      } catch (error) {
        if (error !== MOVED) throw error;
      }
    }
    throw movesTooOften(this.#given);
  }

  /**
   * What is held and what is pending: of this process and its Workers all (of the Workers with the addon); of other
   * processes what the system tells: no names too long for a file name, and no pending requests in the kernel's order.
   * A snapshot; no request waits for it.
   */
  async query(): Promise<LockManagerSnapshot> {
    return Directory.at(this.#path).query();
  }
}

for (const name of ['request', 'query'] as const)
  Object.defineProperty(LockManager.prototype, name, { enumerable: true });
Object.defineProperty(LockManager.prototype, Symbol.toStringTag, { value: 'LockManager', configurable: true });

/** Web IDL's conversion: members in alphabetical order, each read once. */
function dictionary(value: unknown): Omit<RequestOptions, 'name'> {
  if (value !== undefined && value !== null && typeof value !== 'object' && typeof value !== 'function') {
    throw new TypeError('request: the options are not an object');
  }
  const given = (value ?? {}) as LockOptions;
  const ifAvailable = Boolean(given.ifAvailable);
  const asked: unknown = given.mode;
  const mode = asked === undefined ? 'exclusive' : `${asked}`;
  if (!MODES.includes(mode)) throw new TypeError(`request: '${mode}' is not a mode of a lock`);
  const { signal } = given;
  if (signal !== undefined && !isAbortSignal(signal)) throw new TypeError('request: the signal is not an AbortSignal');
  return { ifAvailable, mode: mode as LockMode, signal, steal: Boolean(given.steal) };
}

/** https://www.w3.org/TR/web-locks/#api-lock-manager-request, steps 5 to 9. */
function check({
  name,
  mode = 'exclusive',
  ifAvailable = false,
  steal = false,
  signal,
}: Partial<RequestOptions> & { name: string }): RequestOptions {
  const refuse = (why: string): never => {
    throw new DOMException(`request: ${why}`, 'NotSupportedError');
  };
  if (name.startsWith('-')) refuse("a name must not begin with '-'");
  if (steal && ifAvailable) refuse('steal and ifAvailable exclude each other');
  if (steal && mode !== 'exclusive') refuse('only an exclusive lock can be stolen');
  if (signal !== undefined && (steal || ifAvailable)) refuse('a signal is of no use with steal or ifAvailable');
  throwIfAborted(signal);
  return { name, mode, ifAvailable, steal, signal };
}

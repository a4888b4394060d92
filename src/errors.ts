/** Every error class and every error text of the library. */
import type * as Util from 'node:util';
import type { LockParty } from './options.js';
import { cut, printable } from './printable.js';
import { builtins, requireHere } from './require.js';

/** The base of all errors that locking itself raises. System errors (EACCES, ELOOP, …) are not wrapped. */
export class LockError extends Error {
  readonly code: string;
  /** The path of the lock, if it has one. */
  readonly path: string | undefined;

  constructor(code: string, message: string, path?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.path = path;
  }
}

/** What is known of the others at the moment of a timeout. */
export interface Situation {
  holders: LockParty[];
  /**
   * Requests that wait, of this thread and, as far as the system tells, of other processes; without the one that timed
   * out.
   */
  waiters: number;
  /** What may be the reason. */
  warning?: string | undefined;
  /** The last error of a lock service. */
  cause?: unknown;
}

/** `timeout` ran out before the lock was granted. */
export class LockTimeoutError extends LockError {
  /** The processes that held the lock when time was up, best effort; also named in the message. */
  readonly holders: LockParty[];
  /** How many other requests were waiting, best effort. */
  readonly waiters: number;

  constructor(
    path: string | undefined,
    readonly timeout: number,
    { holders, waiters, warning, cause }: Situation = { holders: [], waiters: 0 },
  ) {
    const held = holders.length === 0 ? '' : `; it is held by ${holders.slice(0, MOST_NAMED).map(named).join(', ')}`;
    const more = holders.length > MOST_NAMED ? ` and ${holders.length - MOST_NAMED} more` : '';
    const queued =
      waiters === 0 ? '' : `, and ${waiters === 1 ? 'another request waits' : `${waiters} other requests wait`}`;
    const why = warning === undefined ? '' : `: ${warning}`;
    const trouble = cause === undefined ? '' : `; the last error was: ${messageOf(cause)}`;
    super(
      'ERR_LOCK_TIMEOUT',
      `the lock${on(path)} was not granted within ${timeout} ms${held}${more}${queued}${why}${trouble}`,
      path,
      because(cause),
    );
    this.holders = holders;
    this.waiters = waiters;
  }
}

const MOST_NAMED = 3;

function named({ pid, host, since, command }: LockParty): string {
  if (pid === 0) return 'a process that cannot be seen from here';
  const where = host === undefined ? '' : ` on ${cut(printable(host), 80)}`;
  const when = since === undefined ? '' : ` since ${since.toISOString()}`;
  return `pid ${pid}${where}${when}${command === undefined ? '' : ` (${cut(printable(command), 80)})`}`;
}

/** Waiting could never end: the caller itself keeps the lock from being granted. */
export class LockDeadlockError extends LockError {
  constructor(path: string | undefined, why: string) {
    super('ERR_LOCK_DEADLOCK', `waiting for the lock${on(path)} would never end: ${why}`, path);
  }
}

/** The file, file system or platform cannot give this kind of lock. */
export class LockUnsupportedError extends LockError {
  constructor(path: string | undefined, why: string, cause?: unknown) {
    super('ERR_LOCK_UNSUPPORTED', `cannot lock${quoted(path)}: ${why}`, path, because(cause));
  }
}

/** The lock was lost while it was held: the reason of `handle.signal`. */
export class LockLostError extends LockError {
  constructor(path: string | undefined, why: string, cause?: unknown) {
    super('ERR_LOCK_LOST', `the lock${on(path)} was lost while held: ${why}`, path, because(cause));
  }
}

/** The lock object was closed. */
export class LockClosedError extends LockError {
  constructor(path: string | undefined) {
    super('ERR_LOCK_CLOSED', `the lock object${quoted(path, ' for')} was closed`, path);
  }
}

/** Another process uses the same path in a way that does not exclude ours. */
export class LockMismatchError extends LockError {
  constructor(path: string | undefined, why: string) {
    super('ERR_LOCK_MISMATCH', `will not lock${quoted(path)}: ${why}`, path);
  }
}

/** A lock service on the network does not answer, or refuses. */
export class LockEngineError extends LockError {
  constructor(name: string | undefined, why: string, cause?: unknown) {
    super('ERR_LOCK_ENGINE', `the lock${on(name)}: ${why}`, name, because(cause));
  }
}

/** A record beside a lock cannot be read as what it should be. Nothing was done on its account. */
export class RecordDamagedError extends LockError {
  constructor(path: string, why: string, remedy: string) {
    super('ERR_LOCK_RECORD_DAMAGED', `the record '${path}' is damaged (${why}); ${remedy}`, path);
  }
}

function quoted(path: string | undefined, before = ''): string {
  return path === undefined ? '' : `${before} '${path}'`;
}

function on(path: string | undefined): string {
  return quoted(path, ' on');
}

/** No `cause` that is undefined: Node prints it. */
function because(cause: unknown): ErrorOptions | undefined {
  return cause === undefined ? undefined : { cause };
}

/**
 * Node's names and texts of system errors. Not by an import of node:util: from Node 26 on that makes a stderr that is a
 * pipe non-blocking for all processes that share it, and those that do not expect it lose output.
 */
export function systemErrors(): Map<number, [string, string]> {
  return (requireHere('node:util') as typeof Util).getSystemErrorMap();
}

/** A system error as Node shapes them: `EACCES: permission denied, flock '/x'`, with code, errno, syscall and path. */
export function systemError(errno: number, syscall: string, path: string): NodeJS.ErrnoException {
  const [code, text] = systemErrors().get(-errno) ?? unmapped(errno);
  const error: NodeJS.ErrnoException = new Error(`${code}: ${text}, ${syscall} '${path}'`);
  return Object.assign(error, { errno: -errno, code, syscall, path });
}

/** libuv has no name for some, and ENOLCK is one of them. */
function unmapped(errno: number): [string, string] {
  const name = Object.entries(builtins.errno).find(([, number]) => number === errno)?.[0] ?? `E${errno}`;
  return [name, name === 'ENOLCK' ? 'no locks available' : 'unknown error'];
}

/** What a value looks like in an error text: quoted, cut, with its type. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return `${String(value)} (${value === null ? 'null' : typeof value})`;
}

/** By its property, not by its class: an error of another realm (Jest, vm) is no instance of this one's Error. */
export function codeOf(error: unknown): string | undefined {
  const code = property(error, 'code');
  return code === undefined ? undefined : String(code);
}

/** The positive number of a system error. */
export function errnoOf(error: unknown): number | undefined {
  const errno = property(error, 'errno');
  return typeof errno === 'number' && !Number.isNaN(errno) ? Math.abs(errno) : undefined;
}

export function messageOf(error: unknown): string {
  const message = property(error, 'message');
  return message === undefined ? String(error) : String(message);
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

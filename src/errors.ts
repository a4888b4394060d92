/** Every error class and every error text of the library. */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

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

/** `timeout` ran out before the lock was granted. */
export class LockTimeoutError extends LockError {
  constructor(
    path: string | undefined,
    readonly timeout: number,
  ) {
    super('ERR_LOCK_TIMEOUT', `the lock${on(path)} was not granted within ${timeout} ms`, path);
  }
}

/** Waiting could never end: the caller itself stands in the way. */
export class LockDeadlockError extends LockError {
  constructor(path: string | undefined, why: string) {
    super('ERR_LOCK_DEADLOCK', `waiting for the lock${on(path)} would never end: ${why}`, path);
  }
}

/** The file, file system or platform cannot give this kind of lock. */
export class LockUnsupportedError extends LockError {
  constructor(path: string | undefined, why: string, cause?: unknown) {
    super('ERR_LOCK_UNSUPPORTED', `cannot lock${path === undefined ? '' : ` '${path}'`}: ${why}`, path, cause === undefined ? undefined : { cause });
  }
}

/** The lock was lost while it was held: the reason of `handle.signal`. */
export class LockLostError extends LockError {
  constructor(path: string | undefined, why: string, cause?: unknown) {
    super('ERR_LOCK_LOST', `the lock${on(path)} was lost while held: ${why}`, path, cause === undefined ? undefined : { cause });
  }
}

/** The lock object was closed. */
export class LockClosedError extends LockError {
  constructor(path: string | undefined) {
    super('ERR_LOCK_CLOSED', `the lock object${path === undefined ? '' : ` for '${path}'`} was closed`, path);
  }
}

/** Somebody uses the same path in a way that does not exclude ours. */
export class LockMismatchError extends LockError {
  constructor(path: string | undefined, why: string) {
    super('ERR_LOCK_MISMATCH', `will not lock${path === undefined ? '' : ` '${path}'`}: ${why}`, path);
  }
}

/** A record beside a lock cannot be read as what it should be. Nothing was done on its account. */
export class RecordDamagedError extends LockError {
  constructor(path: string, why: string, remedy: string) {
    super('ERR_LOCK_RECORD_DAMAGED', `the record '${path}' is damaged (${why}); ${remedy}`, path);
  }
}

function on(path: string | undefined): string {
  return path === undefined ? '' : ` on '${path}'`;
}

/** A system error as Node shapes them: `EACCES: permission denied, flock '/x'`, with code, errno, syscall and path. */
export function systemError(errno: number, syscall: string, path: string): NodeJS.ErrnoException {
  const [code, text] = getSystemErrorMap().get(-errno) ?? unmapped(errno);
  const error: NodeJS.ErrnoException = new Error(`${code}: ${text}, ${syscall} '${path}'`);
  return Object.assign(error, { errno: -errno, code, syscall, path });
}

/** libuv has no name for some, and ENOLCK is one of them. */
function unmapped(errno: number): [string, string] {
  const name = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `E${errno}`;
  return [name, name === 'ENOLCK' ? 'no locks available' : 'unknown error'];
}

/** What a value looks like in an error text: quoted, cut, with its type. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return `${String(value)} (${value === null ? 'null' : typeof value})`;
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/**
 * A small JSON file beside a lock, written only by the holder of the lock and read by any process at any time. It is
 * replaced as a whole: written under another name, flushed to the disk, renamed over the old one. A process that is
 * killed at whatever step leaves the old record or the new one, never half of one.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { dirname } from 'node:path';
import { codeOf, messageOf, RecordDamagedError, systemError } from '../errors.js';
import { MARK } from '../inspect/index.js';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL } = constants;
const O_NONBLOCK = constants.O_NONBLOCK ?? 0;
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
/** No record of ours is as large: what is larger is not read. */
const MOST_BYTES = 16 * 1024 * 1024;

export interface RecordOptions {
  readonly mode: number;
  readonly ignoreUmask: boolean;
}

/** A record's next content: its file is made, and its space taken, before it is known. */
export interface Draft<T> {
  /**
   * @param durable whether it must outlive a loss of power, not only of the process. @throws the old record is as it
   * was
   */
  commit(content: T, durable?: boolean): void;
  discard(): void;
}

export class RecordFile<T extends object> {
  constructor(
    readonly path: string,
    /** Tells the record from anything else, and its version. */
    private readonly format: string,
    private readonly isValid: (content: Partial<T>) => boolean,
    /** What to do about a damaged one. */
    private readonly remedy: string,
    private readonly options: RecordOptions,
  ) {}

  /** Undefined where there is none yet. @throws {RecordDamagedError} */
  read(): T | undefined {
    const text = this.#text();
    if (text === undefined) return undefined;
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch {
      // JSON.parse quotes what it read, which may be another file by a link or its like.
      throw this.#damaged(text === '' ? 'it is empty' : 'it is not JSON');
    }
    const { format, ...rest } = (typeof content === 'object' && content !== null ? content : {}) as {
      format?: unknown;
    } & Partial<T>;
    if (format !== this.format) throw this.#damaged(`it is no '${this.format}'`);
    if (!this.isValid(rest as Partial<T>)) throw this.#damaged('fields are missing or of the wrong type');
    return rest as T;
  }

  write(content: T, durable = true): void {
    this.reserve(0).commit(content, durable);
  }

  /**
   * Makes the file that will replace the record, with room for what the record holds now and so many bytes more. What
   * can keep a record from being written (the name, permissions, space) comes out here.
   */
  reserve(more: number): Draft<T> {
    const fresh = `${this.path}.new`;
    this.#checkReplaceable();
    // What a killed writer left. With O_EXCL no other file or link is written through.
    rmSync(fresh, { force: true });
    const fd = openSync(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, this.options.mode | MARK);
    let open = true;
    const close = (): void => {
      if (open) closeSync(fd);
      open = false;
    };
    const { ino } = fstatSync(fd, { bigint: true });
    const discard = (): void => {
      if (!open) return;
      // After a loss of the lock it may be the next holder's.
      if (lstatSync(fresh, { bigint: true, throwIfNoEntry: false })?.ino === ino) rmSync(fresh, { force: true });
      close();
    };
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        discard();
        throw withPath(error, fresh);
      }
    };
    attempt(() => {
      if (this.options.ignoreUmask) fchmodSync(fd, this.options.mode | MARK);
      const size = statSync(this.path, { throwIfNoEntry: false })?.size ?? 0;
      if (more > 0) writeAll(fd, Buffer.alloc(Math.min(size, MOST_BYTES) + more, ' '));
    });
    return {
      discard,
      commit: (content, durable = true) => {
        const bytes = Buffer.from(`${JSON.stringify({ format: this.format, ...content })}\n`);
        const store = (): void => {
          writeAll(fd, bytes);
          ftruncateSync(fd, bytes.length);
          if (durable) fsyncSync(fd);
          renameSync(fresh, this.path);
          close();
        };
        // With room made before, a content that does not fit leaves the room for a smaller one.
        if (more > 0) store();
        else attempt(store);
        if (durable) flushFolder(dirname(this.path));
      },
    };
  }

  /** Opened without blocking (a FIFO) and without following (a link to a secret or to a device without end). */
  #text(): string | undefined {
    let fd: number;
    try {
      fd = openSync(this.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      if (codeOf(error) === 'ELOOP') throw this.#damaged('it is a symbolic link');
      throw error;
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw this.#damaged('it is no regular file');
      if (stat.size > MOST_BYTES) throw this.#damaged(`it is larger than ${MOST_BYTES} bytes`);
      return readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  }

  /** In a sticky folder another user's file cannot be replaced. */
  #checkReplaceable(): void {
    const [user, record, folder] = [
      process.geteuid?.(),
      lstatSync(this.path, { throwIfNoEntry: false }),
      statSync(dirname(this.path)),
    ];
    if (record === undefined || user === undefined || user === 0 || (folder.mode & MARK) === 0) return;
    if (record.uid === user || folder.uid === user) return;
    const error = systemError(osConstants.errno.EPERM, 'rename', this.path);
    const advice =
      'in a sticky folder only its owner can replace it; use a folder without the sticky bit that the ' +
      'users share by a group';
    throw Object.assign(error, { message: `${error.message} (${advice})` });
  }

  #damaged(why: string): RecordDamagedError {
    return new RecordDamagedError(this.path, why, this.remedy);
  }
}

/** From the beginning of the file. One call may write less than it was given, on a full disk for example. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at);
}

/** Errors of calls on a descriptor do not name the file. */
function withPath(error: unknown, path: string): unknown {
  const { path: named } = error as NodeJS.ErrnoException;
  return named === undefined && codeOf(error) !== undefined
    ? Object.assign(error as Error, { path, message: `${messageOf(error)} '${path}'` })
    : error;
}

/** The renaming itself is on the disk when the folder is. Windows cannot open one. */
function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * A small JSON file beside a lock, written only by the holder of the lock and read by any process at any time. It is put
 * in place as a whole, under a name that no other writer uses, flushed before it is known. A process that is killed at
 * whatever step leaves the old record or the new one, never half of one.
 *
 * A holder may lose its lock without knowing (it was stopped, and its lock file removed or stolen), and go on:
 *     1. A holds the lock and makes its draft. 2. A is stopped; the lock is lost. 3. B holds it, and makes its own draft.
 *     4. A goes on.
 * So drafts have names of their own, and A compares (`isHeld`) after its draft is on the disk and before that gets the
 * record's name: it finds that the lock is lost, and takes the draft away. Should A be stopped between that comparison
 * and the renaming, which are two system calls, the record becomes A's after B's: whole, and older. What may not go back
 * does not depend on it: an outcome is put in place only where none is (`create`), a token is also as great as the time
 * of day (leader-record.ts).
 */
import { randomBytes } from 'node:crypto';
import * as nodeFs from 'node:fs';
import { constants as osConstants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { codeOf, LockLostError, messageOf, RecordDamagedError, systemError } from '../errors.js';
import { MARK } from '../inspect/index.js';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL } = nodeFs.constants;
const O_NONBLOCK = nodeFs.constants.O_NONBLOCK ?? 0;
const O_NOFOLLOW = nodeFs.constants.O_NOFOLLOW ?? 0;
/** What is larger is neither written nor read. */
export const MOST_BYTES = 16 * 1024 * 1024;
/** The end of a draft's name. */
const DRAFT = /^[0-9a-f]{16}\.new$/;
/** What a file system says that has no hard links. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL']);

/** The system calls of a writer, so that tests can let each of them fail, or something happen before it. */
export type RecordFs = Pick<
  typeof nodeFs,
  | 'openSync'
  | 'writeSync'
  | 'ftruncateSync'
  | 'fsyncSync'
  | 'fchmodSync'
  | 'fchownSync'
  | 'closeSync'
  | 'renameSync'
  | 'linkSync'
  | 'unlinkSync'
>;

export interface RecordOptions {
  readonly mode: number;
  readonly ignoreUmask: boolean;
  /** Those of the lock file, where it is there: a record is as open as its lock, and of the same owner. */
  readonly like?: { readonly mode: number; readonly uid: number; readonly gid: number } | undefined;
}

/** How a record is put in place: in that of the old one, or only where none is yet. */
export type Placing = 'replace' | 'create';

export class RecordFile<T extends object> {
  constructor(
    readonly path: string,
    /** What it is, with the version behind it: `fairlock-once 2`. */
    private readonly format: string,
    private readonly isValid: (content: Partial<T>) => boolean,
    /** What to do about a damaged one. */
    private readonly remedy: string,
    private readonly options: RecordOptions,
    private readonly fs: RecordFs = nodeFs,
  ) {}

  /** Undefined where there is none yet. @throws {RecordDamagedError} also of a newer version, which it names */
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
    if (format !== this.format) throw this.#damaged(this.#whyNot(format));
    if (!this.isValid(rest as Partial<T>)) throw this.#damaged('fields are missing or of the wrong type');
    return rest as T;
  }

  /**
   * The record's next content, whose file is made, and its space taken, before that is known. What can keep a record
   * from being written (the name, permissions, space) comes out here.
   * @param room bytes for it
   */
  draft(room = 0): Draft<T> {
    this.#checkReplaceable();
    return new Draft(this.path, this.format, this.options, this.fs, room);
  }

  /**
   * Removes the drafts that killed writers have left. Only for the holder of the lock: what is there is of processes that
   * are dead, or that have lost the lock. Where the folder cannot be read they stay.
   */
  sweep(): void {
    const folder = dirname(this.path);
    const start = `${basename(this.path)}.`;
    quietly(() => {
      for (const name of nodeFs.readdirSync(folder)) {
        if (!name.startsWith(start) || !DRAFT.test(name.slice(start.length))) continue;
        quietly(() => nodeFs.unlinkSync(join(folder, name)));
      }
    });
  }

  /** @throws as `Draft.commit`; the old record is as it was */
  write(content: T, isHeld: () => boolean, durable = true): void {
    const draft = this.draft();
    try {
      draft.commit(content, isHeld, 'replace', durable);
    } finally {
      draft.end();
    }
  }

  /** Opened without blocking (a FIFO) and without following (a link to a secret or to a device without end). */
  #text(): string | undefined {
    let fd: number;
    try {
      fd = nodeFs.openSync(this.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      if (codeOf(error) === 'ELOOP') throw this.#damaged('it is a symbolic link');
      throw error;
    }
    try {
      const stat = nodeFs.fstatSync(fd);
      if (!stat.isFile()) throw this.#damaged('it is no regular file');
      if (stat.size > MOST_BYTES) throw this.#damaged(`it is larger than ${MOST_BYTES} bytes`);
      return nodeFs.readFileSync(fd, 'utf8');
    } finally {
      nodeFs.closeSync(fd);
    }
  }

  /** In a sticky folder another user's file cannot be replaced. */
  #checkReplaceable(): void {
    const [user, record, folder] = [
      process.geteuid?.(),
      nodeFs.lstatSync(this.path, { throwIfNoEntry: false }),
      nodeFs.statSync(dirname(this.path)),
    ];
    if (record?.isDirectory()) throw systemError(osConstants.errno.EISDIR, 'rename', this.path);
    if (record === undefined || user === undefined || user === 0 || (folder.mode & MARK) === 0) return;
    if (record.uid === user || folder.uid === user) return;
    const error = systemError(osConstants.errno.EPERM, 'rename', this.path);
    const advice =
      'in a sticky folder only its owner can replace it; use a folder without the sticky bit that the ' +
      'users share by a group';
    throw Object.assign(error, { message: `${error.message} (${advice})` });
  }

  #whyNot(format: unknown): string {
    const kind = this.format.replace(/ \d+$/, '');
    const isOtherVersion = typeof format === 'string' && format.startsWith(`${kind} `);
    return isOtherVersion
      ? `it is a '${format}', and this version of fairlock writes '${this.format}'`
      : `it is no '${this.format}'`;
  }

  #damaged(why: string): RecordDamagedError {
    return new RecordDamagedError(this.path, why, this.remedy);
  }
}

/** One life, one owner: its descriptor is closed once, by `end`, and nothing is written after that. */
export class Draft<T extends object> {
  readonly #path: string;
  #fd: number | undefined;
  /** Whether the file still has the draft's own name. */
  #isNamed = true;

  constructor(
    private readonly record: string,
    private readonly format: string,
    { mode, ignoreUmask, like }: RecordOptions,
    private readonly fs: RecordFs,
    room: number,
  ) {
    // With O_EXCL no other file or link is written through.
    this.#path = `${record}.${randomBytes(8).toString('hex')}.new`;
    this.#fd = fs.openSync(this.#path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode | MARK);
    try {
      if (like !== undefined) this.#makeLike(like);
      else if (ignoreUmask) fs.fchmodSync(this.#fd, mode | MARK);
      if (room > 0) this.#fill(Buffer.alloc(room, ' '));
    } catch (error) {
      this.end();
      throw withPath(error, this.#path);
    }
  }

  /**
   * @param isHeld whether the lock is held still, as far as can be seen at this moment
   * @param durable whether it must outlive a loss of power, not only of the process
   * @returns false: `create` found that there is a record
   * @throws {LockLostError}; {RangeError} it is too large; system errors. Nothing was put in place, and it may be tried
   * again, with less.
   */
  commit(content: T, isHeld: () => boolean, placing: Placing, durable = true): boolean {
    const bytes = Buffer.from(`${JSON.stringify({ format: this.format, ...content })}\n`);
    if (bytes.length > MOST_BYTES) throw new RangeError(`it is larger than ${MOST_BYTES} bytes`);
    const { fs } = this;
    const fd = this.#open;
    try {
      this.#fill(bytes);
      fs.ftruncateSync(fd, bytes.length);
      if (durable) fs.fsyncSync(fd);
      if (!isHeld()) throw lost(this.record);
      if (placing === 'replace') this.#rename();
      else if (!this.#create()) return false;
    } catch (error) {
      // The next holder has swept it.
      if (codeOf(error) === 'ENOENT' && !isHeld()) throw lost(this.record);
      throw withPath(error, this.#path);
    }
    if (durable) flushFolder(dirname(this.record), fs);
    return true;
  }

  /** Closes it, and takes the file away if it did not become the record. Idempotent, never throws. */
  end(): void {
    if (this.#fd === undefined) return;
    quietly(() => this.fs.closeSync(this.#open));
    this.#fd = undefined;
    if (this.#isNamed) quietly(() => this.fs.unlinkSync(this.#path));
  }

  get #open(): number {
    if (this.#fd === undefined) throw new Error('unreachable: the draft has ended');
    return this.#fd;
  }

  #rename(): void {
    this.fs.renameSync(this.#path, this.record);
    this.#isNamed = false;
  }

  /** By a second name, which only one of several writers can make. */
  #create(): boolean {
    try {
      this.fs.linkSync(this.#path, this.record);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      if (!NO_LINKS.has(codeOf(error) ?? '')) throw error;
      if (nodeFs.lstatSync(this.record, { throwIfNoEntry: false }) !== undefined) return false;
      this.#rename();
    }
    return true;
  }

  #makeLike({ mode, uid, gid }: { mode: number; uid: number; gid: number }): void {
    const fd = this.#open;
    this.fs.fchmodSync(fd, (mode & 0o777) | MARK);
    // A record of root's beside another user's lock could not be read by that user.
    if (process.geteuid?.() === 0) quietly(() => this.fs.fchownSync(fd, uid, gid));
  }

  /** From the beginning of the file. One call may write less than it was given, on a full disk for example. */
  #fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += this.fs.writeSync(this.#open, bytes, at, bytes.length - at, at);
  }
}

function lost(record: string): LockLostError {
  return new LockLostError(record, 'another process may have it, and nothing was recorded');
}

/** Errors of calls on a descriptor do not name the file. */
function withPath(error: unknown, path: string): unknown {
  const { path: named, syscall } = error as NodeJS.ErrnoException;
  return named === undefined && syscall !== undefined
    ? Object.assign(error as Error, { path, message: `${messageOf(error)} '${path}'` })
    : error;
}

/**
 * The renaming itself is on the disk when the folder is. Windows cannot open one; a folder that may be written but not
 * read cannot be flushed, and some file systems refuse it: the record is in place all the same, and known to all.
 */
function flushFolder(folder: string, fs: RecordFs): void {
  if (process.platform === 'win32') return;
  quietly(() => {
    const fd = fs.openSync(folder, nodeFs.constants.O_RDONLY);
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  });
}

export function quietly(step: () => void): void {
  try {
    step();
  } catch {
    // What matters more is done, or thrown already.
  }
}

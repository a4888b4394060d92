/**
 * A record's next content: a file of its own beside the record, whose space is taken, and which is on the disk, before it
 * gets the record's name.
 */
import nodeFs from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, LockLostError, messageOf } from '../errors.js';
import { MARK } from '../inspect/index.js';
import { quietly } from '../quietly.js';
import { builtins } from '../require.js';

const { O_WRONLY, O_CREAT, O_EXCL } = nodeFs.constants;
const O_NOFOLLOW = nodeFs.constants.O_NOFOLLOW ?? 0;
/** What is larger is neither written nor read. */
export const MOST_BYTES = 16 * 1024 * 1024;
/** link(2): what a file system says that has no hard links; FUSE programs say ENOSYS. */
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

function newName(record: string): string {
  return `${record}.${builtins.crypto.randomBytes(8).toString('hex')}.new`;
}

/** The name of the record of which a file is a draft. */
export function recordOfDraft(name: string): string | undefined {
  return /^(.*)\.[0-9a-f]{16}\.new$/s.exec(name)?.[1];
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
    this.#path = newName(record);
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

/** The file that is locked: how it is opened, marked, and told from another one that has taken its place. */
import { type BigIntStats, closeSync, constants, fchmodSync, fstatSync, lstatSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { NativeFallback, NativeFile } from '../binding/native-fallback.js';
import { codeOf, LockMismatchError, LockUnsupportedError, systemError } from '../errors.js';
import { linkTarget } from './paths.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = constants;
/** Node adds O_CLOEXEC to every open. O_NONBLOCK: a FIFO must not make us wait for its other end. */
const O_SAFE = (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
/** The sticky bit means nothing on a regular file, so it can say: natively locked. See `mark`. */
export const MARK = 0o1000;
const EISDIR = 21;
/** Losing the race for one name this often in a row is no race. */
const OPEN_ATTEMPTS = 100;
const READ_ONLY_WILL_DO = new Set(['EACCES', 'EROFS', 'EPERM', 'ETXTBSY']);

export interface LockFileOptions {
  readonly path: string;
  readonly mode: number;
  readonly followSymlinks: boolean;
}

export class OpenFile {
  /** Whose it is while it is idle: see IdleFiles. */
  key = '';
  /** What the addon makes of it, where there is an addon. */
  native: NativeFile | undefined = undefined;

  constructor(
    readonly fd: number,
    readonly dev: bigint,
    readonly ino: bigint,
    readonly writable: boolean,
  ) {}

  get nativeFile(): NativeFile {
    if (this.native === undefined) throw new Error('unreachable: opened without the addon');
    return this.native;
  }

  /** Explicitly, since a child may have the open file too. */
  unlockAndClose(addon: NativeFallback): void {
    addon.unlock(this.nativeFile);
    this.close();
  }

  close(): void {
    try {
      closeSync(this.fd);
    } catch {
      // Whatever close says, the descriptor is gone.
    }
  }
}

export function openLockFile(options: LockFileOptions, { needsWrite = false, directories = false } = {}): OpenFile {
  const { fd, writable } = openOrCreate(options, needsWrite, directories);
  try {
    const stat = fstatSync(fd, { bigint: true });
    checkKind(options.path, stat, directories);
    if (stat.isFile()) mark(options, fd, stat);
    return new OpenFile(fd, stat.dev, stat.ino, writable);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Whether the file at the path is the open one. The open one keeps its inode number from being used again. */
export function isCurrent(options: LockFileOptions, file: OpenFile): boolean {
  const stat = statAt(options.path, options.followSymlinks);
  return stat !== undefined && stat.ino === file.ino && stat.dev === file.dev;
}

export function checkKind(path: string, stat: BigIntStats, directories: boolean): void {
  if (stat.isFile() || (directories && stat.isDirectory())) return;
  if (stat.isDirectory()) throw systemError(EISDIR, 'open', path);
  const kind = stat.isFIFO() ? 'a FIFO' : stat.isSocket() ? 'a socket' : 'a device';
  throw new LockUnsupportedError(path, `it is ${kind}, and only regular files${directories ? ' and directories' : ''} can be locked`);
}

export function statAt(path: string, follow: boolean): BigIntStats | undefined {
  return follow ? statSync(path, { bigint: true, throwIfNoEntry: false }) : lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

/**
 * First without O_CREAT: in sticky folders fs.protected_regular refuses it for a file of another user, even to root.
 * Then with O_EXCL, so that whoever creates the file knows it: it is marked from its first moment.
 */
function openOrCreate(options: LockFileOptions, needsWrite: boolean, directories: boolean): { fd: number; writable: boolean } {
  const { path, mode, followSymlinks } = options;
  const flags = O_SAFE | (followSymlinks ? 0 : O_NOFOLLOW);
  for (let attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
    try {
      return { fd: openSync(path, O_RDWR | flags), writable: true };
    } catch (error) {
      const code = codeOf(error) ?? '';
      if (code === 'ENXIO') throw new LockUnsupportedError(path, 'it is a socket or a device, and only regular files can be locked');
      if (code === 'EISDIR' && directories) return { fd: openSync(path, O_RDONLY | flags), writable: false };
      if (READ_ONLY_WILL_DO.has(code) && !needsWrite) return openReadOnly(path, flags, error);
      if (code !== 'ENOENT') throw error;
    }
    try {
      const target = followSymlinks ? linkTarget(path) : path;
      return { fd: openSync(target, O_RDWR | O_CREAT | O_EXCL | flags, mode | MARK), writable: true };
    } catch (error) {
      if (codeOf(error) === 'ENOENT') mkdirSync(dirname(followSymlinks ? linkTarget(path) : path), { recursive: true });
      else if (codeOf(error) !== 'EEXIST') throw error;
    }
  }
  throw new LockUnsupportedError(path, `its name came and went ${OPEN_ATTEMPTS} times while it was opened`);
}

function openReadOnly(path: string, flags: number, refusal: unknown): { fd: number; writable: boolean } {
  try {
    return { fd: openSync(path, O_RDONLY | flags), writable: false };
  } catch {
    throw refusal;
  }
}

/**
 * A process that locks natively and one that uses the lock folder must never both hold. Each writes its own register
 * and then looks at the other's: here the mark is set and then the folder looked for; the other side makes the folder
 * and then looks for the mark. Whichever of the two comes second sees the first (both may see each other, then both
 * refuse). The mark is never taken back: another native process may already rely on it. It costs nothing per grant,
 * since a descriptor that stays open is on an inode that stays marked, and a new inode is opened anew.
 * A file with content is somebody's data: it is left as it is, unmarked, and so are files that cannot be changed.
 */
function mark(options: LockFileOptions, fd: number, stat: BigIntStats): void {
  if (stat.size === 0n && (stat.mode & BigInt(MARK)) === 0n) {
    try {
      fchmodSync(fd, Number(stat.mode & 0o7777n) | MARK);
    } catch {
      // Another user's file, a read-only or a foreign file system: cannot be marked, as the docs say.
    }
  }
  const folder = lockFolderOf(options);
  if (isFolder(folder)) {
    throw new LockMismatchError(
      options.path,
      `the lock folder '${folder}' exists, so a process without native locks (mechanism 'lockfile', proper-lockfile) uses this path. ` +
        `Let all use one mechanism; if nobody uses the folder any more, remove it`,
    );
  }
}

/** Where proper-lockfile puts its folder. */
export function lockFolderOf({ path, followSymlinks }: LockFileOptions): string {
  return `${followSymlinks ? linkTarget(path) : path}.lock`;
}

function isFolder(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    // Too long a name to exist.
    if (codeOf(error) === 'ENAMETOOLONG') return false;
    throw error;
  }
}

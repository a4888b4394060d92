/** The file that is locked: how it is opened, marked, and told from another one that has taken its place. */
import { type BigIntStats, closeSync, constants, fchmodSync, fstatSync, lstatSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, LockMismatchError, LockUnsupportedError, messageOf, systemError } from '../errors.js';
import { printable } from '../printable.js';
import { builtins } from '../require.js';
import { warnOnce } from '../warnings.js';
import { linkTarget } from './canonical-path.js';
import { closeCachedFiles } from './descriptor-cache.js';
import { makeFolders } from './make-folders.js';
import { OpenFile } from './open-file.js';
import { siblingPath } from './sibling-files.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = constants;
/** Node adds O_CLOEXEC to every open. O_NONBLOCK: a FIFO must not make us wait for its other end. */
const O_SAFE = (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
/** The sticky bit means nothing on a regular file, so it can say: natively locked. See `mark`. */
export const MARK = 0o1000;
/** Windows has no such bit: there a file beside it says so. */
const MARK_IS_FILE = process.platform === 'win32';
/** A file may be replaced between open and lock; so often in a row is no coincidence. */
export const MAX_REPLACED = 100;
/** Losing the race for one name this often in a row is no race. */
const OPEN_ATTEMPTS = 100;
/** open(2), for writing: another user's file, a read-only file system, a file that is immutable, a program that runs. */
const READ_ONLY_WILL_DO = new Set(['EACCES', 'EROFS', 'EPERM', 'ETXTBSY']);
/** open(2): of the process (RLIMIT_NOFILE), of the system (/proc/sys/fs/file-max). */
const NO_DESCRIPTOR = new Set(['EMFILE', 'ENFILE']);

export interface LockFileOptions {
  readonly path: string;
  readonly mode: number;
  /** Whether `mode` holds whatever the umask. */
  readonly ignoreUmask?: boolean;
  readonly followSymlinks: boolean;
  /** Whether the file may have content of its own. False: that is worth a warning. */
  readonly dataFile?: boolean;
  /** Not a lock file, but one that lies beside it: no third file is made that marks it. */
  readonly isSidecar?: boolean;
  /** Whether a missing folder is made; asked only where one is missing. Default: yes. */
  readonly makesFolders?: () => boolean;
}

/**
 * What the file is opened for. An open for writing is in the way of others: a program's file cannot be executed
 * meanwhile, and programs that watch it are told that it was written. So only where the lock needs it.
 */
export type Access = 'read' | 'write' | 'write if allowed';

export function openLockFile(
  options: LockFileOptions,
  { access = 'read' as Access, directories = false, creates = true } = {},
): OpenFile {
  return opened(options, { access, directories, creates, marks: true });
}

/** To look at it: makes no file and no folder, and sets no mark. Undefined where there is no file. */
export function openToLook(
  options: LockFileOptions,
  { access = 'read' as Access, directories = false } = {},
): OpenFile | undefined {
  try {
    return opened(options, { access, directories, creates: false, marks: false });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

interface HowToOpen {
  access: Access;
  directories: boolean;
  creates: boolean;
  marks: boolean;
}

function opened(options: LockFileOptions, { access, directories, creates, marks }: HowToOpen): OpenFile {
  const { fd, writable, created } = withDescriptors(() => openOrCreate(options, access, directories, creates));
  try {
    if (created && options.ignoreUmask) fchmodSync(fd, options.mode | MARK);
    let stat = fstatSync(fd, { bigint: true });
    checkKind(options.path, stat, directories);
    // On overlayfs a file that is changed may get another inode number: so its identity is that after marking.
    if (marks && stat.isFile() && mark(options, fd, stat)) stat = fstatSync(fd, { bigint: true });
    if (marks && stat.isFile() && stat.size > 0n && options.dataFile === false) warnOfContent(options.path);
    return new OpenFile(fd, stat.dev, stat.ino, writable, stat.isFile() && stat.size === 0n);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Does something that needs descriptors; where there are none left, without those that are only kept for later. */
function withDescriptors<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!NO_DESCRIPTOR.has(codeOf(error) ?? '') || !closeCachedFiles()) throw error;
    return open();
  }
}

/** Whether the file at the path is the open one. The open one keeps its inode number from being used again. */
export function isCurrent(options: LockFileOptions, file: OpenFile): boolean {
  const stat = statAt(options.path, options.followSymlinks);
  if (stat === undefined) return false;
  if (stat.ino === file.ino && stat.dev === file.dev) return true;
  const now = fstatSync(file.fd, { bigint: true }); // See check_identity in lock.h.
  return stat.ino === now.ino && stat.dev === now.dev;
}

export function checkKind(path: string, stat: BigIntStats, directories: boolean): void {
  if (stat.isFile() || (directories && stat.isDirectory())) return;
  if (stat.isDirectory()) throw systemError(builtins.errno.EISDIR, 'open', path);
  const kind = stat.isFIFO() ? 'a FIFO' : stat.isSocket() ? 'a socket' : 'a device';
  throw new LockUnsupportedError(
    path,
    `it is ${kind}, and only regular files${directories ? ' and directories' : ''} can be locked`,
  );
}

/**
 * Undefined where nothing is. No error is made for that: Node 20 aborts the process if a Worker is terminated while one
 * of its file calls makes one (`FromJust Maybe value is Nothing` in UVException). Below what is no folder it is ENOTDIR,
 * which newer versions of Node do not tell from a missing file here.
 */
export function statAt(path: string, follow: boolean): BigIntStats | undefined {
  const options = { bigint: true, throwIfNoEntry: false } as const;
  const stat = follow ? statSync(path, options) : lstatSync(path, options);
  if (stat === undefined && statSync(dirname(path), options)?.isDirectory() === false)
    throw systemError(builtins.errno.ENOTDIR, follow ? 'stat' : 'lstat', path);
  return stat;
}

interface Opened {
  fd: number;
  writable: boolean;
  created: boolean;
}

/**
 * First without O_CREAT: in sticky folders fs.protected_regular refuses it for a file of another user, even to root.
 * Then with O_EXCL, so that the process that creates the file knows it: it is marked from its first moment.
 */
function openOrCreate(options: LockFileOptions, access: Access, directories: boolean, creates: boolean): Opened {
  const { path, mode, followSymlinks, makesFolders = () => true } = options;
  const flags = O_SAFE | (followSymlinks ? 0 : O_NOFOLLOW);
  const writable = access !== 'read';
  const kind = writable ? O_RDWR : O_RDONLY;
  let refusal: unknown;
  for (let attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
    try {
      return { fd: openSync(path, kind | flags), writable, created: false };
    } catch (error) {
      const code = codeOf(error) ?? '';
      if (code === 'ENXIO')
        throw new LockUnsupportedError(path, 'it is a socket or a device, and only regular files can be locked');
      if (code === 'EISDIR' && directories)
        return { fd: openSync(path, O_RDONLY | flags), writable: false, created: false };
      if (READ_ONLY_WILL_DO.has(code) && access === 'write if allowed') return openReadOnly(path, flags, error);
      if (code === 'EACCES' && access === 'write') throw needsWriteAccess(error, path);
      if (code !== 'ENOENT' || !creates) throw error;
    }
    try {
      return { fd: openSync(ownPath(options), kind | O_CREAT | O_EXCL | flags, mode | MARK), writable, created: true };
    } catch (error) {
      refusal = error;
      if (codeOf(error) === 'ENOENT' && makesFolders()) {
        // A folder may be removed by another process between its making and the next try. Below the target of a link
        // none is made: what it points to is not there, as flock(1) says.
        if (isDanglingLink(options)) throw error;
        try {
          makeFolders(dirname(path));
        } catch (reason) {
          if (codeOf(reason) !== 'ENOENT') throw reason;
          refusal = reason;
        }
      } else if (codeOf(error) !== 'EEXIST') throw error;
    }
  }
  if (codeOf(refusal) === 'ENOENT') throw refusal;
  throw new LockUnsupportedError(path, `its name came and went ${OPEN_ATTEMPTS} times while it was opened`);
}

/** Whether what is missing is missing behind a link, and not before it. */
export function isDanglingLink(options: Pick<LockFileOptions, 'path' | 'followSymlinks'>): boolean {
  return ownPath(options) !== options.path && statAt(dirname(options.path), true) !== undefined;
}

function openReadOnly(path: string, flags: number, refusal: unknown): Opened {
  try {
    return { fd: openSync(path, O_RDONLY | flags), writable: false, created: false };
  } catch {
    throw refusal;
  }
}

/** Another user's file: there, but not to be written. */
function needsWriteAccess(error: unknown, path: string): unknown {
  if (statAt(path, true)?.isFile() !== true) return error;
  const advice =
    'this kind of lock needs write access to the file; in a folder that several users share, create it ' +
    'with the option ignoreUmask';
  return Object.assign(error as Error, { message: `${messageOf(error)} (${advice})` });
}

function warnOfContent(path: string): void {
  warnOnce(
    'FAIRLOCK_DATA_FILE',
    () =>
      `'${printable(path)}' has content of its own and is locked itself. A program that saves it by renaming another ` +
      'file over it takes the locked file away, and two processes may hold the lock. Lock a file beside it, with ' +
      'lockBeside(file), or say that it is meant, with the option dataFile',
  );
}

/**
 * A process that locks natively (N) and one that uses the lock folder (F) must never both hold. Each writes its own
 * register, then looks at the other's:
 *     1. N sets the mark. 2. F makes its folder. 3. F looks for the mark, and refuses. N may see the folder, and refuse too.
 *     1. F makes its folder. 2. N sets the mark. 3. N looks for the folder, and refuses. F may see the mark likewise.
 * The mark is never taken back: another native process may already rely on it. It costs nothing per grant, since a
 * descriptor that stays open is on an inode that stays marked, and a new inode is opened anew.
 * A file with content is data: it is left as it is, unmarked, and so are files that cannot be changed.
 * @returns whether the file was changed
 */
function mark(options: LockFileOptions, fd: number, stat: BigIntStats): boolean {
  let changed = false;
  if (stat.size === 0n && !isMarked(ownPath(options), stat)) {
    try {
      if (MARK_IS_FILE && options.isSidecar) return false;
      if (MARK_IS_FILE) closeSync(openSync(siblingPath(ownPath(options), 'native'), 'a', options.mode));
      else fchmodSync(fd, Number(stat.mode & 0o7777n) | MARK);
      changed = !MARK_IS_FILE;
    } catch {
      // Another user's file, a read-only or a foreign file system: cannot be marked, as the docs say.
    }
  }
  const folder = lockFolderOf(options);
  if (isLockFolder(folder)) {
    throw new LockMismatchError(
      options.path,
      `the lock folder '${folder}' exists, so a process without native locks (mechanism 'lockfile', ` +
        `proper-lockfile) uses this path. ` +
        `Let all use one mechanism; if no process uses the folder any more, remove it`,
    );
  }
  return changed;
}

/** Whether processes lock the file natively. */
export function isMarked(path: string, stat: BigIntStats): boolean {
  if (MARK_IS_FILE) return lstatSync(siblingPath(path, 'native'), { throwIfNoEntry: false }) !== undefined;
  return (stat.mode & BigInt(MARK)) !== 0n;
}

/** Where proper-lockfile puts its folder. */
export function lockFolderOf(options: Pick<LockFileOptions, 'path' | 'followSymlinks'>): string {
  return `${ownPath(options)}.lock`;
}

/** That of the file itself, not of a link to it. */
function ownPath({ path, followSymlinks }: Pick<LockFileOptions, 'path' | 'followSymlinks'>): string {
  return followSymlinks ? linkTarget(path) : path;
}

/** Whether a process without native locks has made its folder there. */
export function isLockFolder(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    // Too long a name to exist.
    if (codeOf(error) === 'ENAMETOOLONG') return false;
    throw error;
  }
}

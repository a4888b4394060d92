/**
 * The kernel's locks as Linux's /proc tells them: the list of all, and those of each open file. Best effort: out of date
 * as soon as it is read; other users' processes and other PID namespaces may be hidden.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { statAt } from '../files/lock-file.js';
import type { ByteRange, MechanismName } from '../options.js';
import { quietly } from '../quietly.js';
import type { Looking } from './looking.js';
import { linkOf, list, read } from './proc.js';

/**
 * Opening with it touches nothing: no device is woken, and closing it drops no POSIX lock of this process (open(2)). The
 * number is that of Linux's asm-generic/fcntl.h, which x86 and arm64 use.
 */
const O_PATH = 0o10000000;

/** A line of /proc/locks or of /proc/PID/fdinfo/FD: `1: -> OFDLCK ADVISORY WRITE -1 fd:01:1234 0 EOF`. */
const LINE = /^\d+:\s+(-> )?(\w+)\s+\w+\s+(READ|WRITE)\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) (\d+) (\d+|EOF)/;

export interface KernelLockLine {
  waiting: boolean;
  kind: string;
  shared: boolean;
  pid: number;
  file: string;
  start: number;
  /** The last byte; Infinity: to the end of the file, wherever that is. */
  end: number;
}

/** What the kernel's list of locks calls the locks of a mechanism. */
export const KERNEL_NAMES: Record<MechanismName, readonly string[]> = {
  flock: ['FLOCK'],
  fcntl: ['OFDLCK', 'POSIX'],
  lockfile: [],
};

/** A file as the kernel's list names it. */
export interface Identity {
  file: string;
  realPath: string | undefined;
}

/** A process that has a file open. */
export interface Opener {
  pid: number;
  descriptors: string[];
}

/** One look, for any number of files: the list of all locks and the open files of all processes are read at most once. */
export class Look {
  #lines: KernelLockLine[] | undefined;
  #openers: Map<string, Opener[]> | undefined;

  /** All locks. For the list the kernel halts locking, everywhere, for a moment. */
  *lines(): Looking<KernelLockLine[]> {
    this.#lines ??= parseLocks(yield '/proc/locks');
    return this.#lines;
  }

  *openersOf({ realPath }: Identity): Looking<Opener[]> {
    return realPath === undefined ? [] : ((yield* this.openers()).get(realPath) ?? []);
  }

  /** By the real path of the file. */
  *openers(): Looking<Map<string, Opener[]>> {
    if (this.#openers !== undefined) return this.#openers;
    const openers = new Map<string, Opener[]>();
    for (const pid of processes()) {
      for (const [path, descriptors] of byPath(pid)) {
        openers.set(path, [...(openers.get(path) ?? []), { pid, descriptors }]);
      }
      yield;
    }
    this.#openers = openers;
    return openers;
  }
}

function byPath(pid: number): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { fd, path } of openFilesOf(pid)) found.set(path, [...(found.get(path) ?? []), fd]);
  return found;
}

/** What a process has open, as far as we may look: files by their real paths. */
export function openFilesOf(pid: number): { fd: string; path: string }[] {
  return list(`/proc/${pid}/fd`).flatMap((fd) => {
    const path = linkOf(`/proc/${pid}/fd/${fd}`);
    return path === undefined ? [] : { fd, path };
  });
}

export function processes(): number[] {
  return list('/proc').map(Number).filter(Number.isInteger);
}

/** The locks that a process has, or waits for, on the file of one of its descriptors. */
export function locksOfDescriptor(pid: number | 'self', fd: string): KernelLockLine[] {
  return parseLocks(read(`/proc/${pid}/fdinfo/${fd}`).replaceAll('lock:\t', ''));
}

/** Its `major:minor:inode` as the kernel's lock list says it, which is not what stat says on overlayfs or btrfs. */
export function identify(path: string, followSymlinks = true): Identity | undefined {
  const seen = infoOf(path, followSymlinks);
  const inode = /^ino:\s+(\d+)$/m.exec(seen?.info ?? '')?.[1];
  const mount = mountIn(seen?.info);
  const device = mount === undefined ? undefined : deviceOf(mount);
  if (inode === undefined || device === undefined) return undefined;
  return { file: `${device}:${inode}`, realPath: seen?.realPath };
}

/** The number of the mount that a file or folder is on. Undefined where the system does not tell. */
export function mountOf(path: string): string | undefined {
  return process.platform === 'linux' ? mountIn(infoOf(path)?.info) : undefined;
}

function mountIn(info = ''): string | undefined {
  return /^mnt_id:\s+(\d+)$/m.exec(info)?.[1];
}

/** What /proc tells of the file at a path. Undefined: there is none. */
function infoOf(path: string, followSymlinks = true): { info: string; realPath: string | undefined } | undefined {
  const flags = constants.O_RDONLY | O_PATH | (followSymlinks ? 0 : (constants.O_NOFOLLOW ?? 0));
  const fd = quietly(() => openSync(path, flags));
  if (fd === undefined) return undefined;
  try {
    return { info: read(`/proc/self/fdinfo/${fd}`), realPath: linkOf(`/proc/self/fd/${fd}`) };
  } finally {
    closeSync(fd);
  }
}

/** Of a mount, as `major:minor` in the kernel's hexadecimal. */
function deviceOf(mount: string): string | undefined {
  const device = new RegExp(`^${mount} \\d+ (\\d+):(\\d+) `, 'm').exec(read('/proc/self/mountinfo'));
  if (device === null) return undefined;
  const hex = (part: string | undefined): string => Number(part).toString(16).padStart(2, '0');
  return `${hex(device[1])}:${hex(device[2])}`;
}

/**
 * The locks of a mechanism on the file at a path that are held, where that must not be opened: the kernel drops all POSIX
 * locks of this process (LevelDB's, SQLite's, any `fcntl(F_SETLK)`) on a file as soon as the process closes any
 * descriptor of it (fcntl(2), "Record locking"), so a mere question must not open a file on which there is one.
 * Undefined: it may be opened, or there is no /proc to tell. A POSIX lock is another owner's than a lock of an open
 * file, also in one process.
 */
export function locksUnlessOpened(path: string, mechanism: MechanismName): KernelLockLine[] | undefined {
  const own = ownPosixLocks(path);
  if (own.length === 0) return undefined;
  const file = identify(path)?.file;
  const listed = parseLocks(read('/proc/locks')).filter((line) => line.file === file && !line.waiting);
  return [...own, ...listed].filter(({ kind }) => KERNEL_NAMES[mechanism].includes(kind));
}

function ownPosixLocks(path: string): KernelLockLine[] {
  const file = statAt(path, true);
  if (file === undefined) return [];
  for (const fd of list('/proc/self/fd')) {
    if (!isOpenAs(Number(fd), file)) continue;
    // A descriptor shows all such locks of its process on the file, by whichever descriptor they were made.
    const posix = locksOfDescriptor('self', fd).filter(({ kind, waiting }) => kind === 'POSIX' && !waiting);
    if (posix.length > 0) return posix;
  }
  return [];
}

function isOpenAs(fd: number, file: { dev: bigint; ino: bigint }): boolean {
  const stat = quietly(() => fstatSync(fd, { bigint: true }));
  return stat?.dev === file.dev && stat.ino === file.ino;
}

/** @param range undefined: the whole file */
export function coversAny({ start, end }: KernelLockLine, range: ByteRange | undefined): boolean {
  return range === undefined || (start < range.start + range.length && range.start <= end);
}

export function parseLocks(text: string): KernelLockLine[] {
  return text.split('\n').flatMap((line) => {
    const match = LINE.exec(line);
    if (match === null) return [];
    const [, arrow, kind = '', mode, pid, file = '', start, end] = match;
    return [
      {
        waiting: arrow !== undefined,
        kind,
        shared: mode === 'READ',
        pid: Number(pid),
        file,
        start: Number(start),
        end: end === 'EOF' ? Infinity : Number(end),
      },
    ];
  });
}

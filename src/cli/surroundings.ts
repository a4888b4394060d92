/**
 * What this process was started with, as far as Node changes it: a command that it runs is to find it as it was.
 * Linux only; elsewhere the command finds what Node leaves.
 */
import { fstatSync, type Stats, statSync } from 'node:fs';
import { basename } from 'node:path';
import { list, read } from '../inspect/index.js';
import { quietly } from '../quietly.js';

export interface Surroundings {
  /** Descriptors beyond 2 that came in. Node has marked the first of them close-on-exec. */
  readonly descriptors: readonly number[];
  /** Signals that were ignored. Node has set them back to their default. */
  readonly ignored: readonly NodeJS.Signals[];
  /** The soft limit of open files, which Node has raised; undefined where it is not known. */
  readonly openFiles: number | undefined;
}

/** To be asked before this process opens anything. */
export function surroundings(): Surroundings {
  return { descriptors: inheritedDescriptors(), ignored: ignoredSignals(), openFiles: openFileLimit() };
}

/** Between the start of the process and the origin of its time; and what the clock of files is behind. */
const START_MS = 30;

/** Where there is no /proc to list them, how many are looked at. */
const MOST_LOOKED_AT = 256;
const KIND = 0o170000;
/** Of /dev/null, on Linux. */
const NULL_DEVICE = (1 << 8) | 3;

interface Descriptor {
  fd: number;
  /** The same for the two ends of a pipe. */
  file: string;
  stat: Stats;
  /** When it was made or last used, in ms since the epoch. */
  touched: number;
}

/**
 * All but Node's own: event queues, pipes, and one /dev/null, opened after them. Its own pipes are those of which it
 * has both ends and its parent none, and that are as young as the process; a jobserver's pipe, of which make passes
 * both ends too, is older, is the parent's as well, and is named in MAKEFLAGS.
 */
function inheritedDescriptors(): number[] {
  if (process.platform !== 'linux') return [];
  const listed = list('/proc/self/fd').map(Number);
  const numbers = listed.length > 0 ? listed : Array.from({ length: MOST_LOOKED_AT }, (_, fd) => fd);
  const open = numbers
    .filter((fd) => fd > 2)
    .sort((a, b) => a - b)
    .flatMap((fd) => describe(fd, () => fstatSync(fd)));
  const jobserver =
    /--jobserver-(?:auth|fds)=(\d+),(\d+)/
      .exec(process.env.MAKEFLAGS ?? '')
      ?.slice(1)
      .map(Number) ?? [];
  const isYoungPair = ({ file, touched }: Descriptor): boolean =>
    touched >= performance.timeOrigin - START_MS && open.filter((one) => one.file === file).length === 2;
  const pairs = open.filter((one) => one.stat.isFIFO() && isYoungPair(one) && !jobserver.includes(one.fd));
  const parents = pairs.length === 0 ? new Set() : new Set(pipesOf(process.ppid));
  const isOwn = (one: Descriptor): boolean =>
    (one.stat.mode & KIND) === 0 || (pairs.includes(one) && !parents.has(one.file));
  const last = Math.max(2, ...open.filter(isOwn).map(({ fd }) => fd));
  const ownNull = open.find(({ fd, stat }) => fd > last && stat.isCharacterDevice() && stat.rdev === NULL_DEVICE);
  return open.filter((one) => !isOwn(one) && one !== ownNull).map(({ fd }) => fd);
}

function pipesOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return list(folder).flatMap((fd) => describe(Number(fd), () => statSync(`${folder}/${fd}`)).map(({ file }) => file));
}

function describe(fd: number, look: () => Stats): Descriptor[] {
  const stat = quietly(look);
  if (stat === undefined) return []; // The descriptor of the list itself, closed by now.
  const { dev, ino, atimeMs, mtimeMs, ctimeMs } = stat;
  return [{ fd, file: `${dev}:${ino}`, stat, touched: Math.min(atimeMs, mtimeMs, ctimeMs) }];
}

/**
 * Only what can be found out: that nohup(1) was before us, since shells note the last program in `_`. Programs that do
 * not set it leave it as it was, and the signal as ignored as it was.
 */
function ignoredSignals(): NodeJS.Signals[] {
  return basename(process.env._ ?? '') === 'nohup' ? ['SIGHUP'] : [];
}

/**
 * The parent's, from which ours came. What a program has set between the two, prlimit(1), cannot be known: Node has
 * overwritten it before any of our code runs.
 */
function openFileLimit(): number | undefined {
  if (process.ppid <= 1) return undefined;
  const soft = /^Max open files\s+(\d+)/m.exec(read(`/proc/${process.ppid}/limits`))?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/** The number under which the command has the lock: 3, or the first that did not come in. */
export function lockDescriptor({ descriptors }: Surroundings): number {
  for (let fd = 3; ; fd++) if (!descriptors.includes(fd)) return fd;
}

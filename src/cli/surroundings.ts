/**
 * What this process was started with, as far as Node changes it: a command that it runs is to find it as it was.
 * Linux only; elsewhere the command finds what Node leaves.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { linkOf, list, read } from '../inspect/index.js';

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

interface Descriptor {
  fd: number;
  link: string;
  /** When it was made or last used, in ms since the epoch. */
  touched: number;
}

/**
 * All but Node's own: event queues, pipes, and one /dev/null, opened after them. Its own pipes are those of which it
 * has both ends and its parent none, and that are as young as the process; a jobserver's pipe, of which make passes
 * both ends too, is older, is the parent's as well, and is named in MAKEFLAGS.
 */
function inheritedDescriptors(): number[] {
  const open = list('/proc/self/fd')
    .map(Number)
    .filter((fd) => fd > 2)
    .sort((a, b) => a - b)
    .flatMap(describe);
  const jobserver =
    /--jobserver-(?:auth|fds)=(\d+),(\d+)/
      .exec(process.env.MAKEFLAGS ?? '')
      ?.slice(1)
      .map(Number) ?? [];
  const parents = new Set(list(`/proc/${process.ppid}/fd`).map((fd) => linkOf(`/proc/${process.ppid}/fd/${fd}`)));
  const isOwn = ({ fd, link, touched }: Descriptor): boolean => {
    if (link.startsWith('anon_inode:')) return true;
    const isNew = touched >= performance.timeOrigin - START_MS && open.filter((one) => one.link === link).length === 2;
    return link.startsWith('pipe:') && isNew && !jobserver.includes(fd) && !parents.has(link);
  };
  const last = Math.max(2, ...open.filter(isOwn).map(({ fd }) => fd));
  const ownNull = open.find(({ fd, link }) => fd > last && link === '/dev/null');
  return open.filter((one) => !isOwn(one) && one !== ownNull).map(({ fd }) => fd);
}

function describe(fd: number): Descriptor[] {
  try {
    const link = readlinkSync(`/proc/self/fd/${fd}`);
    const { atimeMs, mtimeMs, ctimeMs } = statSync(`/proc/self/fd/${fd}`);
    return [{ fd, link, touched: Math.min(atimeMs, mtimeMs, ctimeMs) }];
  } catch {
    return []; // The descriptor of the list itself, closed by now.
  }
}

/**
 * Only what can be found out: that nohup(1) was before us, since shells note the last program in `_`. Programs that do
 * not set it leave it as it was, and the signal as ignored as it was.
 */
function ignoredSignals(): NodeJS.Signals[] {
  return basename(process.env._ ?? '') === 'nohup' ? ['SIGHUP'] : [];
}

/** The parent's, from which ours came. */
function openFileLimit(): number | undefined {
  if (process.ppid <= 1) return undefined;
  const soft = /^Max open files\s+(\d+)/m.exec(read(`/proc/${process.ppid}/limits`))?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/** Whether an argument is not UTF-8. Node has changed it then. */
export function hasBrokenArguments(): boolean {
  if (!process.argv.some((word) => word.includes('\ufffd'))) return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(readFileSync('/proc/self/cmdline'));
    return false;
  } catch {
    return true;
  }
}

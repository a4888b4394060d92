/**
 * Which processes hold a file's locks and which wait, from Linux's /proc. Best effort: a look without any lock of its
 * own, out of date as soon as it is taken; other users' processes and other PID namespaces may be hidden.
 */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { LockParty } from '../options.js';

export interface Parties {
  holders: LockParty[];
  waiters: LockParty[];
}

/** Opening with it touches nothing: no device is woken, and closing it drops no POSIX lock of this process. */
const O_PATH = 0o10000000;
/** One reading of /proc/locks under churn misses some: several are merged. */
const READINGS = 3;
const F_OFD_SETLKW = '0x26';
/** fcntl's number on x86-64 and on arm64 (and RISC-V). */
const SYS_FCNTL = new Set(['72', '25']);

/** A line of /proc/locks or of /proc/PID/fdinfo/FD: `1: -> OFDLCK ADVISORY WRITE -1 fd:01:1234 0 EOF`. */
const LINE = /^\d+:\s+(-> )?(\w+)\s+\w+\s+(READ|WRITE)\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) (\d+) (\d+|EOF)/;

interface KernelLockLine {
  waiting: boolean;
  kind: string;
  shared: boolean;
  pid: number;
  file: string;
}

/** Undefined where there is no /proc to look at, or no file. */
export function partiesOf(path: string, kinds: readonly string[]): Parties | undefined {
  const identity = identify(path);
  if (identity === undefined) return undefined;
  const { file, realPath } = identity;
  const seen = new Map<string, KernelLockLine>();
  for (let reading = 0; reading < READINGS; reading++) {
    for (const line of parse(read('/proc/locks'))) {
      if (line.file === file && kinds.includes(line.kind)) seen.set([line.waiting, line.pid, line.shared].join(), line);
    }
  }
  const lines = [...seen.values()];
  // An open-file-description lock belongs to no process: who has the open file is to be looked up.
  const byOpenFile = lines.some((line) => line.pid < 0) ? partiesByOpenFile(file, realPath) : { holders: [], waiters: [] };
  const holders = [...lines.filter((line) => !line.waiting && line.pid > 0).map(party), ...byOpenFile.holders];
  const waiters = [...lines.filter((line) => line.waiting && line.pid > 0).map(party), ...byOpenFile.waiters];
  return { holders, waiters };
}

export function commandOf(pid: number): string | undefined {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() || undefined;
}

/** Its `major:minor:inode` as the kernel's lock list says it, which is not what stat says on overlayfs or btrfs. */
function identify(path: string): { file: string; realPath: string | undefined } | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | O_PATH);
  } catch {
    return undefined;
  }
  try {
    const info = read(`/proc/self/fdinfo/${fd}`);
    const mount = /^mnt_id:\s+(\d+)$/m.exec(info)?.[1];
    const inode = /^ino:\s+(\d+)$/m.exec(info)?.[1];
    const device = new RegExp(`^${mount} \\d+ (\\d+):(\\d+) `, 'm').exec(read('/proc/self/mountinfo'));
    if (inode === undefined || device === null) return undefined;
    const hex = (part: string | undefined): string => Number(part).toString(16).padStart(2, '0');
    return { file: `${hex(device[1])}:${hex(device[2])}:${inode}`, realPath: linkOf(`/proc/self/fd/${fd}`) };
  } finally {
    closeSync(fd);
  }
}

function partiesByOpenFile(file: string, path: string | undefined): Parties {
  const parties: Parties = { holders: [], waiters: [] };
  for (const name of list('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const open = list(`/proc/${pid}/fd`).filter((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === path);
    for (const fd of open) {
      const held = parse(read(`/proc/${pid}/fdinfo/${fd}`).replaceAll('lock:\t', '')).find((line) => line.file === file && line.kind === 'OFDLCK');
      if (held !== undefined) parties.holders.push({ ...party(held), ...partyOf(pid) });
    }
    if (open.length > 0) parties.waiters.push(...waitsOf(pid, new Set(open)));
  }
  // A wait and its caller's descriptor share one open file: while it holds, it is seen twice.
  return { holders: unique(parties.holders), waiters: parties.waiters };
}

/** Threads that stand in `fcntl(fd, F_OFD_SETLKW)`, as far as we may look. */
function waitsOf(pid: number, descriptors: Set<string>): LockParty[] {
  return list(`/proc/${pid}/task`).flatMap((thread) => {
    const [call, fd, command] = read(`/proc/${pid}/task/${thread}/syscall`).split(' ');
    const waits = SYS_FCNTL.has(call ?? '') && descriptors.has(String(Number(fd))) && command === F_OFD_SETLKW;
    return waits ? [{ ...partyOf(pid), shared: false }] : [];
  });
}

function unique(parties: LockParty[]): LockParty[] {
  return [...new Map(parties.map((one) => [`${one.pid},${one.shared}`, one])).values()];
}

function party({ pid, shared }: KernelLockLine): LockParty {
  return { ...partyOf(pid), shared };
}

function partyOf(pid: number): { pid: number; command?: string } {
  const command = commandOf(pid);
  return command === undefined ? { pid } : { pid, command };
}

function parse(text: string): KernelLockLine[] {
  return text.split('\n').flatMap((line) => {
    const match = LINE.exec(line);
    if (match === null) return [];
    const [, arrow, kind = '', mode, pid, file = ''] = match;
    return [{ waiting: arrow !== undefined, kind, shared: mode === 'READ', pid: Number(pid), file }];
  });
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

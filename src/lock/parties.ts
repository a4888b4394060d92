/**
 * Which processes hold a file's locks and which wait, from Linux's /proc. Best effort: a look without any lock of its
 * own, out of date as soon as it is taken; other users' processes and other PID namespaces may be hidden.
 */
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { MOST_PERMITS, PERMIT_NUMBERS } from '../mechanism/permits.js';
import type { LockParty } from '../options.js';

export interface Parties {
  holders: LockParty[];
  waiters: LockParty[];
}

/** Opening with it touches nothing: no device is woken, and closing it drops no POSIX lock of this process. */
const O_PATH = 0o10000000;
/** One reading of /proc/locks under churn misses some: several are merged. */
const READINGS = 3;
/** Linux counts a process's start in these, whatever its own ticks are. */
const TICKS_PER_SECOND = 100;
const F_OFD_SETLKW = '0x26';
/** fcntl's number on x86-64 and on arm64 (and RISC-V). */
const SYS_FCNTL = new Set(['72', '25']);

/** A line of /proc/locks or of /proc/PID/fdinfo/FD: `1: -> OFDLCK ADVISORY WRITE -1 fd:01:1234 0 EOF`. */
const LINE = /^\d+:\s+(-> )?(\w+)\s+\w+\s+(READ|WRITE)\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) (\d+) (\d+|EOF)/;

/** A ticket's byte is at least this: native-fallback/src/ticket.h. */
export const FIRST_TICKET = 4096;

interface Identity {
  file: string;
  realPath: string | undefined;
}

interface KernelLockLine {
  waiting: boolean;
  kind: string;
  shared: boolean;
  pid: number;
  file: string;
  start: number;
}

/** Who has a ticket of the line on a sidecar (fairness 'fifo'), first come first. */
export function inLine(sidecar: string): LockParty[] {
  const identity = identify(sidecar);
  if (identity === undefined) return [];
  const tickets: { ticket: number; pid: number }[] = [];
  for (const { pid, line } of locksByOpenFile(identity, ['OFDLCK'])) {
    if (!line.shared && line.start >= FIRST_TICKET) tickets.push({ ticket: line.start, pid });
  }
  return tickets.sort((a, b) => a.ticket - b.ticket).map(({ pid }) => ({ ...partyOf(pid), shared: false }));
}

/** Undefined where there is no /proc to look at, or no file. */
export function partiesOf(path: string, kinds: readonly string[]): Parties | undefined {
  const identity = identify(path);
  if (identity === undefined) return undefined;
  const { file } = identity;
  const seen = new Map<string, KernelLockLine>();
  for (let reading = 0; reading < READINGS; reading++) {
    for (const line of parse(read('/proc/locks'))) {
      if (line.file === file && kinds.includes(line.kind)) seen.set([line.waiting, line.pid, line.shared].join(), line);
    }
  }
  const lines = [...seen.values()];
  // An open-file-description lock belongs to no process, and a flock may have outlived the one that took it, in a child:
  // who has the open file is to be looked up.
  const isNamed = ({ pid, waiting }: KernelLockLine): boolean => pid > 0 && (waiting || existsSync(`/proc/${pid}`));
  const byOpenFile = lines.every(isNamed) ? { holders: [], waiters: [] } : partiesByOpenFile(identity, kinds);
  const holders = [...lines.filter((line) => !line.waiting && isNamed(line)).map(party), ...byOpenFile.holders];
  const waiters = [...lines.filter((line) => line.waiting && line.pid > 0).map(party), ...byOpenFile.waiters];
  return { holders: unique(holders), waiters };
}

/** Who has a permit of a semaphore, one entry for each permit, and who waits for one. Undefined: it is none. */
export function semaphoreAt(path: string): Parties | undefined {
  const identity = identify(path);
  if (identity === undefined) return undefined;
  const locks = [...locksByOpenFile(identity, ['OFDLCK'])];
  const numbers = locks.filter(({ line }) => line.shared && line.start > PERMIT_NUMBERS && line.start <= PERMIT_NUMBERS + MOST_PERMITS);
  if (numbers.length === 0) return undefined;
  const held = locks.filter(({ line }) => !line.shared && line.start < MOST_PERMITS);
  const named = ({ pid }: { pid: number }): LockParty => ({ ...partyOf(pid), shared: false });
  const waiting = numbers.filter(({ pid }) => !held.some((one) => one.pid === pid));
  return { holders: oncePerByte(held).map(named), waiters: waiting.map(named) };
}

/** Those of the paths on whose files the kernel knows of a lock. */
export function lockedAmong(paths: readonly string[]): string[] {
  const locked = new Set(parse(read('/proc/locks')).map(({ file }) => file));
  return paths.filter((path) => locked.has(identify(path)?.file ?? ''));
}

/** A lock on a file in a folder. */
export interface LockInFolder {
  pid: number;
  /** Of the file. */
  name: string;
  kind: string;
  shared: boolean;
  /** The first byte that is locked. */
  start: number;
}

/**
 * The locks on the files of a folder, as the open files of all processes show them. The list of all locks is not read:
 * for that the kernel halts locking, everywhere, until the moment is convenient.
 */
export function* locksIn(folder: string): Generator<LockInFolder> {
  const seen = new Set<string>();
  for (const pid of processes()) {
    for (const { fd, path } of openFilesOf(pid)) {
      if (dirname(path) !== folder) continue;
      for (const { kind, shared, start } of locksOfDescriptor(pid, fd)) {
        const name = basename(path);
        const key = [pid, name, kind, shared, start].join('\0');
        if (!seen.has(key)) yield { pid, name, kind, shared, start };
        seen.add(key);
      }
    }
  }
}

/** Whether a process has a lock on the file at a real path. Undefined where that cannot be seen. */
export function isHeldBy(path: string, pid: number): boolean | undefined {
  const open = openFilesOf(pid);
  if (open.length === 0) return existsSync(`/proc/${pid}`) || !existsSync('/proc/self') ? undefined : false;
  return open.some((file) => file.path === path && locksOfDescriptor(pid, file.fd).length > 0);
}

/** When a process was started. */
export function startOf(pid: number): Date | undefined {
  const ticks = statOf(pid)?.[19];
  const boot = /^btime (\d+)$/m.exec(read('/proc/stat'))?.[1];
  return ticks === undefined || boot === undefined ? undefined : new Date((Number(boot) + Number(ticks) / TICKS_PER_SECOND) * 1000);
}

/** What /proc/PID/stat says after the name, which may contain anything: state, ppid, pgrp, session, tty_nr, tpgid, … */
export function statOf(pid: number | 'self'): string[] | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text === '' ? undefined : text.replace(/^.*\)/s, '').trim().split(' ');
}

function commandOf(pid: number): string | undefined {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() || undefined;
}

/** Its `major:minor:inode` as the kernel's lock list says it, which is not what stat says on overlayfs or btrfs. */
function identify(path: string): Identity | undefined {
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

function partiesByOpenFile(identity: Identity, kinds: readonly string[]): Parties {
  const holders = oncePerByte([...locksByOpenFile(identity, kinds)]).map(({ pid, line }) => ({ ...partyOf(pid), shared: line.shared }));
  const waiters = [...openersOf(identity)].flatMap(({ pid, descriptors }) => waitsOf(pid, new Set(descriptors)));
  return { holders, waiters };
}

/** The locks of a file's open files. One that two descriptors share (a wait's own, a child's) comes once. */
function* locksByOpenFile(identity: Identity, kinds: readonly string[]): Generator<{ pid: number; line: KernelLockLine }> {
  const seen = new Set<string>();
  for (const { pid, descriptors } of openersOf(identity)) {
    for (const fd of descriptors) {
      for (const line of locksOfDescriptor(pid, fd)) {
        const key = [pid, line.shared, line.start].join();
        if (line.file !== identity.file || !kinds.includes(line.kind) || seen.has(key)) continue;
        seen.add(key);
        yield { pid, line };
      }
    }
  }
}

/** Of an exclusive lock whose open file a child has inherited, the parent is named: as a rule, the smaller pid. */
function oncePerByte<T extends { pid: number; line: KernelLockLine }>(locks: T[]): T[] {
  const isOther = (a: T, b: T): boolean => a.line.shared || a.line.start !== b.line.start || a.line.kind !== b.line.kind;
  return locks.filter((lock, i) => locks.slice(0, i).every((before) => isOther(before, lock)));
}

function locksOfDescriptor(pid: number, fd: string): KernelLockLine[] {
  return parse(read(`/proc/${pid}/fdinfo/${fd}`).replaceAll('lock:\t', ''));
}

/** What a process has open, as far as we may look: files by their real paths. */
function openFilesOf(pid: number): { fd: string; path: string }[] {
  return list(`/proc/${pid}/fd`).flatMap((fd) => {
    const path = linkOf(`/proc/${pid}/fd/${fd}`);
    return path === undefined ? [] : { fd, path };
  });
}

function processes(): number[] {
  return list('/proc').map(Number).filter(Number.isInteger);
}

function* openersOf({ realPath }: Identity): Generator<{ pid: number; descriptors: string[] }> {
  for (const pid of processes()) {
    const descriptors = openFilesOf(pid).flatMap(({ fd, path }) => (path === realPath ? fd : []));
    if (descriptors.length > 0) yield { pid, descriptors };
  }
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
    const [, arrow, kind = '', mode, pid, file = '', start] = match;
    return [{ waiting: arrow !== undefined, kind, shared: mode === 'READ', pid: Number(pid), file, start: Number(start) }];
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

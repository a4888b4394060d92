/** Which processes hold a file's locks and which wait: see lock-list.ts for how that is known. */
import { existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { commandLine } from '../command-line.js';
import { FIRST_TICKET, MOST_PERMITS, PERMIT_NUMBERS, TICKET_MODES } from '../files/byte-layout.js';
import type { LockParty, MechanismName, Parties } from '../options.js';
import {
  type Identity,
  identify,
  KERNEL_NAMES,
  type KernelLockLine,
  Look,
  locksOfDescriptor,
  type Opener,
  openFilesOf,
  processes,
} from './lock-list.js';
import { atOnce, type Looking } from './looking.js';
import { list, read } from './proc.js';

/** proc(5): a process's start is told in clock ticks, which are USER_HZ for programs, whatever the kernel's HZ. */
const TICKS_PER_SECOND = 100;
/** Of linux/fcntl.h, as /proc/PID/syscall prints it: see proc(5). */
const F_OFD_SETLKW = '0x26';
/** fcntl's number on x86-64 (asm/unistd_64.h) and on arm64 and RISC-V (asm-generic/unistd.h). */
const SYS_FCNTL = new Set(['72', '25']);

/** @param sidecar where the waiters have tickets */
export function* lockParties(
  path: string,
  mechanism: MechanismName,
  sidecar: string | undefined,
): Looking<Parties | undefined> {
  const look = new Look();
  const seen = yield* partiesOf(path, KERNEL_NAMES[mechanism], look);
  return sidecar === undefined ? seen : { holders: seen?.holders ?? [], waiters: yield* queuedAt(sidecar, look) };
}

/** Like `lockParties`, of a semaphore: one holder for each permit. */
export function* semaphoreParties(
  path: string,
  followSymlinks: boolean,
  sidecar: string | undefined,
): Looking<Parties | undefined> {
  const look = new Look();
  const seen = yield* semaphoreAt(path, look, followSymlinks);
  return sidecar === undefined ? seen : { holders: seen?.holders ?? [], waiters: yield* queuedAt(sidecar, look) };
}

/** The processes with a ticket of the queue on a sidecar (fairness 'fifo'), in the order of service. */
export function* queuedAt(sidecar: string, look = new Look()): Looking<LockParty[]> {
  const identity = identify(sidecar);
  if (identity === undefined) return [];
  const locks = locksOf(yield* look.openersOf(identity), identity, ['OFDLCK']);
  const tickets = locks.filter(({ line }) => isTicket(line));
  const isShared = (ticket: number): boolean =>
    locks.some(({ line }) => line.shared && line.start === modeByteOf(ticket));
  const order = tickets.sort((a, b) => a.line.start - b.line.start);
  return order.map(({ pid, line }) => ({ ...partyOf(pid), shared: isShared(line.start) }));
}

/** Of a lock on a sidecar. */
export function isTicket({ shared, start }: { shared: boolean; start: number }): boolean {
  return !shared && start >= FIRST_TICKET && start < TICKET_MODES;
}

/** The byte that says that the ticket of this byte is of a request for a shared lock. */
export function modeByteOf(ticket: number): number {
  return TICKET_MODES + (ticket - FIRST_TICKET);
}

/** Undefined where there is no /proc to look at, or no file. */
export function* partiesOf(path: string, kinds: readonly string[], look = new Look()): Looking<Parties | undefined> {
  if (kinds.length === 0) return undefined;
  const identity = identify(path);
  if (identity === undefined) return undefined;
  const seen = new Map<string, KernelLockLine>();
  for (const line of yield* look.lines()) {
    if (line.file !== identity.file || !kinds.includes(line.kind)) continue;
    seen.set([line.waiting, line.pid, line.shared].join(), line);
  }
  const lines = [...seen.values()];
  // An open-file-description lock belongs to no process, and a flock may have outlived the one that took it, in a
  // child: the processes that have the open file are to be looked up.
  const isNamed = ({ pid, waiting }: KernelLockLine): boolean => pid > 0 && (waiting || existsSync(`/proc/${pid}`));
  const byOpenFile =
    lines.length > 0 && lines.every(isNamed)
      ? { holders: [], waiters: [] }
      : partiesByOpenFile(yield* look.openersOf(identity), identity, kinds);
  const holders = [...lines.filter((line) => !line.waiting && isNamed(line)).map(party), ...byOpenFile.holders];
  const waiters = [...lines.filter((line) => line.waiting && line.pid > 0).map(party), ...byOpenFile.waiters];
  return { holders: unique(holders), waiters };
}

/** The holders of a semaphore, one entry for each permit, and its waiters. Undefined: the file is no semaphore. */
export function* semaphoreAt(path: string, look = new Look(), followSymlinks = true): Looking<Parties | undefined> {
  const identity = identify(path, followSymlinks);
  if (identity === undefined) return undefined;
  const locks = locksOf(yield* look.openersOf(identity), identity, ['OFDLCK']);
  const numbers = locks.filter(
    ({ line }) => line.shared && line.start > PERMIT_NUMBERS && line.start <= PERMIT_NUMBERS + MOST_PERMITS,
  );
  if (numbers.length === 0) return undefined;
  const held = locks.filter(({ line }) => !line.shared && line.start < MOST_PERMITS);
  const named = ({ pid }: { pid: number }): LockParty => ({ ...partyOf(pid), shared: false });
  const waiting = numbers.filter(({ pid }) => !held.some((one) => one.pid === pid));
  return { holders: oncePerByte(held).map(named), waiters: waiting.map(named) };
}

/**
 * Those of the paths on whose files there is a lock: by the kernel's list, which shows no lock whose owner has died (in
 * a PID namespace it is hidden then, though a child has the open file still), and by the open files of all processes.
 */
export function lockedAmong(paths: readonly string[], look = new Look()): string[] {
  const locked = new Set(atOnce(look.lines()).map(({ file }) => file));
  const openers = atOnce(look.openers());
  return paths.filter((path) => {
    const identity = identify(path);
    if (identity === undefined) return false;
    if (locked.has(identity.file)) return true;
    const kinds = Object.values(KERNEL_NAMES).flat();
    return locksOf(openers.get(identity.realPath ?? '') ?? [], identity, kinds).length > 0;
  });
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
  return ticks === undefined || boot === undefined
    ? undefined
    : new Date((Number(boot) + Number(ticks) / TICKS_PER_SECOND) * 1000);
}

/** What /proc/PID/stat says after the name, which may contain anything: state, ppid, pgrp, session, tty_nr, tpgid, … */
export function statOf(pid: number | 'self'): string[] | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text === '' ? undefined : text.replace(/^.*\)/s, '').trim().split(' ');
}

function commandOf(pid: number): string | undefined {
  const words = read(`/proc/${pid}/cmdline`).replace(/\0$/, '').split('\0');
  return commandLine(words).trim() || undefined;
}

function partiesByOpenFile(openers: readonly Opener[], identity: Identity, kinds: readonly string[]): Parties {
  const holders = oncePerByte(locksOf(openers, identity, kinds)).map(({ pid, line }) => ({
    ...partyOf(pid),
    shared: line.shared,
  }));
  const waiters = openers.flatMap(({ pid, descriptors }) => waitsOf(pid, new Set(descriptors)));
  return { holders, waiters };
}

interface LockOfProcess {
  pid: number;
  line: KernelLockLine;
}

/** The locks of a file's open files. One that two descriptors share (a wait's own, a child's) comes once. */
function locksOf(openers: readonly Opener[], identity: Identity, kinds: readonly string[]): LockOfProcess[] {
  const found = new Map<string, LockOfProcess>();
  for (const { pid, descriptors } of openers) {
    for (const line of descriptors.flatMap((fd) => locksOfDescriptor(pid, fd))) {
      const key = [pid, line.shared, line.start].join();
      if (line.file === identity.file && kinds.includes(line.kind) && !found.has(key)) found.set(key, { pid, line });
    }
  }
  return [...found.values()];
}

/** Of an exclusive lock whose open file a child has inherited, the parent is named: as a rule, the smaller pid. */
function oncePerByte<T extends { pid: number; line: KernelLockLine }>(locks: T[]): T[] {
  const isOther = (a: T, b: T): boolean =>
    a.line.shared || a.line.start !== b.line.start || a.line.kind !== b.line.kind;
  return locks.filter((lock, i) => locks.slice(0, i).every((before) => isOther(before, lock)));
}

/** Threads that wait in `fcntl(fd, F_OFD_SETLKW)`, as far as we may look. */
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

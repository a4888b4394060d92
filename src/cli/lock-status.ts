/** The processes that hold a path or wait for it, whatever they lock it with. */
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { InterProcessLock, type MechanismName } from '../index.js';
import {
  atOnce,
  canonicalPath,
  Look,
  lockedAmong,
  lockFolderOf,
  partiesOf,
  queuedAt,
  semaphoreAt,
  sidecarOf,
  startOf,
  statAt,
} from '../inspect/index.js';
import type { LockParty, Parties } from '../options.js';
import { quietly } from '../quietly.js';
import { CliError, UNAVAILABLE } from './exit-codes.js';
import { reasonOf } from './reasons.js';

const LIST = '/proc/locks';

export interface Party {
  /**
   * Unknown for a lock folder, and where the system does not show the process (another user, another PID namespace).
   */
  pid?: number;
  command?: string;
  mode?: 'exclusive' | 'shared' | 'permit';
  mechanism: 'flock' | 'fcntl' | 'semaphore' | 'lockfile';
  /**
   * When its process was started: the kernel does not tell since when it holds or waits. Of a lock folder: its last
   * heartbeat.
   */
  started?: Date;
}

export interface LockStatus {
  path: string;
  holders: Party[];
  /** In the order of service, as far as it is known. */
  waiters: Party[];
}

/** @throws {CliError} elsewhere than on Linux, and where /proc is not there */
export function needPlatformThatTells(): void {
  if (process.platform !== 'linux')
    throw new CliError(`${process.platform} does not tell which processes hold a lock`, UNAVAILABLE);
  try {
    accessSync(LIST, constants.R_OK);
  } catch (error) {
    throw new CliError(`cannot look which processes hold a lock: ${LIST}: ${reasonOf(error)}`, UNAVAILABLE);
  }
}

/** @param look shared by all files that are looked at together */
export function statusOf(path: string, look = new Look()): LockStatus {
  const file = canonicalPath(resolve(path), true);
  const folder = lockFolder(file);
  const sidecar = sidecarOf(file);
  // Without a look into every process, which takes a while.
  if (lockedAmong([file, sidecar], look).length === 0)
    return { path, holders: folder.length > 0 ? folder : unseenHolder(file), waiters: [] };
  const queued = atOnce(queuedAt(sidecar, look));
  const flock = atOnce(partiesOf(file, ['FLOCK'], look));
  const semaphore = atOnce(semaphoreAt(file, look));
  const fcntl = semaphore ?? atOnce(partiesOf(file, ['OFDLCK', 'POSIX'], look));
  const kernel = [named(flock, 'flock'), named(fcntl, semaphore === undefined ? 'fcntl' : 'semaphore')];
  const holders = [...kernel.flatMap((one) => one.holders), ...folder];
  if (holders.length === 0) holders.push(...unseenHolder(file));
  const parked = kernel.flatMap((one) => one.waiters);
  const mechanism = holders[0]?.mechanism ?? 'flock';
  const inOrder = queued.map((one) => {
    const atHead = parked.find(({ pid }) => pid === one.pid);
    return atHead ?? { ...person(one), mode: one.shared ? ('shared' as const) : ('exclusive' as const), mechanism };
  });
  return {
    path,
    holders,
    waiters: [...inOrder, ...parked.filter(({ pid }) => !queued.some((one) => one.pid === pid))],
  };
}

/** As the kernel answers, whether it shows the holder or not. @throws what `isLocked` throws */
export function isLockedWith(mechanism: MechanismName, file: string): boolean {
  return new InterProcessLock(file, { mechanism, dataFile: true }).isLocked();
}

/** The kernel knows of a lock, and does not show its holder. */
function unseenHolder(file: string): Party[] {
  // What fails is not to be opened, or not to be locked in this way.
  const held = (['flock', 'fcntl'] as const).filter((mechanism) => quietly(() => isLockedWith(mechanism, file)));
  return held.map((mechanism) => ({ mechanism }));
}

function named(parties: Parties | undefined, mechanism: Party['mechanism']): Pick<LockStatus, 'holders' | 'waiters'> {
  const mode = (shared: boolean): 'exclusive' | 'shared' | 'permit' =>
    mechanism === 'semaphore' ? 'permit' : shared ? 'shared' : 'exclusive';
  const party = (one: LockParty): Party => ({ ...person(one), mode: mode(one.shared), mechanism });
  return { holders: (parties?.holders ?? []).map(party), waiters: (parties?.waiters ?? []).map(party) };
}

function person({ pid, command }: LockParty): Pick<Party, 'pid' | 'command' | 'started'> {
  const started = startOf(pid);
  return { pid, ...(command !== undefined && { command }), ...(started !== undefined && { started }) };
}

function lockFolder(path: string): Party[] {
  // Below what is no folder nothing is.
  const stat = quietly(() => statAt(lockFolderOf({ path, followSymlinks: false }), true));
  return stat?.isDirectory() ? [{ mode: 'exclusive', mechanism: 'lockfile', started: stat.mtime }] : [];
}

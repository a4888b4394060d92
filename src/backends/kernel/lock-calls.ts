/** The system calls behind `flock` and `fcntl`, from whichever layer has them. */

import { codeOf, LockUnsupportedError, systemError } from '../../errors.js';
import { isCurrent, type LockFileOptions, type OpenFile } from '../../files/lock-file.js';
import {
  CONTENDED,
  GRANTED,
  loadNativeFallback,
  type NativeFallback,
  needByteRanges,
  REPLACED,
} from '../../native/addon.js';
import { type FlockCalls, loadFsExt } from '../../native/fs-ext.js';
import type { LayerName } from '../../native/loader.js';
import type { ByteRange } from '../../options.js';
import type { TicketQueue } from '../fifo/ticket-queue.js';

/** GRANTED and CONTENDED are said of a file that is still at the path; REPLACED may have been granted or not. */
export type LockStatus = typeof GRANTED | typeof CONTENDED | typeof REPLACED;

export interface KernelCalls {
  readonly name: 'flock' | 'fcntl';
  /** Which layer locks, and how a waiter waits. */
  readonly layers: { lock: LayerName; wait: 'native-fallback' | 'poll' };
  /** Whether a directory can be locked. */
  readonly directories: boolean;
  /** Open files are kept for and used by locks of the same key. */
  readonly key: string;
  needsWrite(shared: boolean): boolean;
  /** Prepares a file just opened. */
  opened(file: OpenFile): void;
  tryLock(file: OpenFile, shared: boolean): LockStatus;
  /** The same, past whoever stands in line, where there is one. */
  tryPastLine?(file: OpenFile, shared: boolean): LockStatus;
  unlock(file: OpenFile): void;
  isCurrent(file: OpenFile): boolean;
  /** Whether another open file has a lock on it. Not for a file that is locked through this one. */
  isLocked(file: OpenFile): boolean;
  /** Whether a try may have failed because another process was asking `isLocked`. */
  isProbed?(file: OpenFile): boolean;
  /** The line of all processes, where strict order was asked for. */
  readonly tickets?: TicketQueue | undefined;
  /** Whether the lock does without the line of all processes from now on, since this error is why there is none. */
  doesWithoutTickets?(error: unknown): boolean;
  /** Waits in the kernel's queue; undefined: there is nothing to wait with, so poll. */
  readonly addon: NativeFallback | undefined;
}

/** fs-ext for the calls it can do, the addon for what it cannot and where fs-ext is missing. */
export function flockCalls(options: LockFileOptions): KernelCalls {
  const fsExt = loadFsExt().api;
  const addon = loadNativeFallback().api;
  if (fsExt === undefined && addon === undefined) throw flockMissing(options.path);
  const layers = {
    lock: fsExt === undefined ? 'native-fallback' : 'fs-ext',
    wait: addon === undefined ? 'poll' : 'native-fallback',
  } as const;
  const common = {
    name: 'flock',
    layers,
    directories: true,
    needsWrite: () => false,
    ...fileCalls(options, addon, undefined),
  } as const;
  return fsExt === undefined ? common : { ...common, ...fsExtCalls(options.path, fsExt, common) };
}

/** Open-file-description locks: they conflict with POSIX locks, but no close of another descriptor drops them. */
export function fcntlCalls(options: LockFileOptions, range: ByteRange | undefined): KernelCalls {
  const addon = needByteRanges(options.path, "mechanism 'fcntl'");
  return {
    name: 'fcntl',
    layers: { lock: 'native-fallback', wait: 'native-fallback' },
    directories: false,
    needsWrite: (shared) => !shared,
    ...fileCalls(options, addon, range ?? { start: 0, length: Infinity }),
  };
}

/** Why there can be no sidecar, or no byte-range locks on it, for this process. */
export const NO_TICKETS = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENAMETOOLONG',
  'EINVAL',
  'ENOLCK',
  'ENOSYS',
  'EOPNOTSUPP',
  'ENOTSUP',
]);

/**
 * The same calls with strict order between processes: a try fails while requests of other processes are queued.
 * @param optional whether to go on in the kernel's order where the sidecar cannot be had
 */
export function fifoCalls(
  calls: KernelCalls,
  addon: NativeFallback,
  all: TicketQueue,
  { path, unlinks, optional }: { path: string; unlinks: boolean; optional: boolean },
): KernelCalls {
  let tickets: TicketQueue | undefined = all;
  const tryInTurn = (queue: TicketQueue, file: OpenFile, shared: boolean): LockStatus => {
    // Where files come and go, no sidecar is made while no request is queued. The sidecar is removed only by a process
    // that has the main lock and finds no ticket; so if there is none once the lock is ours, no request came before.
    if (unlinks && !queue.exists()) {
      const status = calls.tryLock(file, shared);
      if (status !== GRANTED || !queue.exists()) return status;
      calls.unlock(file);
    }
    const status = queue.look((probe) => addon.tryFirst(file.nativeFile, probe, shared));
    if (status < 0) throw systemError(-status, calls.name, path);
    return status as LockStatus;
  };
  const doesWithoutTickets = (error: unknown): boolean => {
    if (!optional || !NO_TICKETS.has(codeOf(error) ?? '')) return false;
    tickets = undefined;
    return true;
  };
  return {
    ...calls,
    get tickets() {
      return tickets;
    },
    doesWithoutTickets,
    tryPastLine: calls.tryLock,
    layers: { lock: 'native-fallback', wait: 'native-fallback' },
    tryLock(file, shared) {
      if (tickets === undefined) return calls.tryLock(file, shared);
      try {
        return tryInTurn(tickets, file, shared);
      } catch (error) {
        if (!doesWithoutTickets(error)) throw error;
        return calls.tryLock(file, shared);
      }
    },
  };
}

function flockMissing(path: string): LockUnsupportedError {
  const reasons = `fs-ext: ${loadFsExt().reason}; native-fallback: ${loadNativeFallback().reason}`;
  return new LockUnsupportedError(path, `mechanism 'flock' needs a native layer, and none loads. ${reasons}`);
}

function fileCalls(options: LockFileOptions, addon: NativeFallback | undefined, range: ByteRange | undefined) {
  const { path, followSymlinks } = options;
  const syscall = range === undefined ? 'flock' : 'fcntl';
  const start = range?.start ?? 0;
  const length = range === undefined || range.length === Infinity ? 0 : range.length;
  const checked = (status: number): LockStatus => {
    if (status < 0) throw systemError(-status, syscall, path);
    return status as LockStatus;
  };
  return {
    addon,
    key: [syscall, start, length, followSymlinks, path].join(),
    opened(file: OpenFile): void {
      if (addon !== undefined)
        file.native = addon.file(file.fd, path, followSymlinks, range !== undefined, start, length);
    },
    tryLock: (file: OpenFile, shared: boolean) => checked(native(addon).tryLock(file.nativeFile, shared)),
    unlock: (file: OpenFile) => void checked(native(addon).unlock(file.nativeFile)),
    isLocked: (file: OpenFile) => checked(native(addon).isLocked(file.nativeFile)) !== GRANTED,
    ...(addon !== undefined &&
      range === undefined && { isProbed: (file: OpenFile) => addon.isProbed(file.nativeFile) }),
    isCurrent:
      addon === undefined
        ? (file: OpenFile) => isCurrent(options, file)
        : (file: OpenFile) => checked(addon.isCurrent(file.nativeFile)) === GRANTED,
  };
}

function fsExtCalls(path: string, fsExt: FlockCalls, common: Pick<KernelCalls, 'addon' | 'isCurrent' | 'isLocked'>) {
  return {
    tryLock(file: OpenFile, shared: boolean): LockStatus {
      const granted = fsExt.tryLock(file.fd, shared, path);
      return !common.isCurrent(file) ? REPLACED : granted ? GRANTED : CONTENDED;
    },
    unlock: (file: OpenFile) => fsExt.unlock(file.fd, path),
    isLocked(file: OpenFile): boolean {
      if (common.addon !== undefined) return common.isLocked(file);
      // First shared: of a lock that is held exclusively nothing is taken. Then exclusively, which tells of shared ones.
      const free = fsExt.tryLock(file.fd, true, path) && fsExt.tryLock(file.fd, false, path);
      fsExt.unlock(file.fd, path);
      return !free;
    },
  };
}

function native(addon: NativeFallback | undefined): NativeFallback {
  if (addon === undefined) throw new Error('unreachable: the addon was not loaded');
  return addon;
}

/** The system calls behind `flock` and `fcntl`, from whichever layer has them. */
import { type FlockCalls, loadFsExt } from '../binding/fs-ext.js';
import type { LayerName } from '../binding/layers.js';
import { CONTENDED, GRANTED, loadNativeFallback, type NativeFallback, needByteRanges, REPLACED } from '../binding/native-fallback.js';
import { LockUnsupportedError, systemError } from '../errors.js';
import type { TicketQueue } from '../fairness/ticket-queue.js';
import { isCurrent, type LockFileOptions, type OpenFile } from '../file/lock-file.js';
import type { ByteRange } from '../options.js';

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
  /** The line of all processes, where strict order was asked for. */
  readonly tickets?: TicketQueue;
  /** Waits in the kernel's queue; undefined: there is nothing to wait with, so poll. */
  readonly addon: NativeFallback | undefined;
}

/** fs-ext for the calls it can do, the addon for what it cannot and where fs-ext is missing. */
export function flockCalls(options: LockFileOptions): KernelCalls {
  const fsExt = loadFsExt().api;
  const addon = loadNativeFallback().api;
  if (fsExt === undefined && addon === undefined) throw flockMissing(options.path);
  const layers = { lock: fsExt === undefined ? 'native-fallback' : 'fs-ext', wait: addon === undefined ? 'poll' : 'native-fallback' } as const;
  const common = { name: 'flock', layers, directories: true, needsWrite: () => false, ...fileCalls(options, addon, undefined) } as const;
  return fsExt === undefined ? common : { ...common, ...fsExtCalls(options.path, fsExt, common.isCurrent) };
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

/** The same calls with strict order between processes: a try gives way to whoever stands in line. */
export function fifoCalls(calls: KernelCalls, addon: NativeFallback, tickets: TicketQueue, path: string, unlinks: boolean): KernelCalls {
  return {
    ...calls,
    tickets,
    tryPastLine: calls.tryLock,
    layers: { lock: 'native-fallback', wait: 'native-fallback' },
    tryLock(file, shared) {
      // Where files come and go, none is made for a line in which nobody stands. The sidecar is removed only by who has
      // the main lock and finds nobody in line; so if there is none once the lock is ours, nobody was before us.
      if (unlinks && !tickets.exists()) {
        const status = calls.tryLock(file, shared);
        if (status !== GRANTED || !tickets.exists()) return status;
        calls.unlock(file);
      }
      const status = tickets.look((probe) => addon.tryFirst(file.nativeFile, probe, shared));
      if (status < 0) throw systemError(-status, calls.name, path);
      return status as LockStatus;
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
      if (addon !== undefined) file.native = addon.file(file.fd, path, followSymlinks, range !== undefined, start, length);
    },
    tryLock: (file: OpenFile, shared: boolean) => checked(native(addon).tryLock(file.nativeFile, shared)),
    unlock: (file: OpenFile) => void checked(native(addon).unlock(file.nativeFile)),
    isCurrent:
      addon === undefined ? (file: OpenFile) => isCurrent(options, file) : (file: OpenFile) => checked(addon.isCurrent(file.nativeFile)) === GRANTED,
  };
}

function fsExtCalls(path: string, fsExt: FlockCalls, isStillThere: (file: OpenFile) => boolean) {
  return {
    tryLock(file: OpenFile, shared: boolean): LockStatus {
      const granted = fsExt.tryLock(file.fd, shared, path);
      return !isStillThere(file) ? REPLACED : granted ? GRANTED : CONTENDED;
    },
    unlock: (file: OpenFile) => fsExt.unlock(file.fd, path),
  };
}

function native(addon: NativeFallback | undefined): NativeFallback {
  if (addon === undefined) throw new Error('unreachable: the addon was not loaded');
  return addon;
}

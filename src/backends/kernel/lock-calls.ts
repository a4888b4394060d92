/** The system calls on an open file that `flock` and `fcntl` have in common, by the addon. */
import type { Capabilities } from '../../core/backend.js';
import type { LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockAddon } from '../../native/addon.js';
import { NativeFile, type NativeFileOptions, type TryStatus } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';

/** All methods throw system errors. */
export interface LockCalls {
  readonly name: 'flock' | 'fcntl';
  readonly layers: Capabilities['layers'];
  /** Whether a directory can be locked. */
  readonly locksDirectories: boolean;
  /** Cached descriptors are used by locks of the same key only. */
  readonly key: string;
  /** Waits in the kernel; undefined: waiters have to poll. */
  readonly addon: LockAddon | undefined;
  /** Whether a try may fail since another process asks `isLocked` at that moment, and `isProbed` can tell. */
  readonly canBeProbed: boolean;
  needsWrite(mode: LockMode): boolean;
  /** Prepares a file that was just opened. */
  prepare(file: OpenFile): void;
  tryLock(file: OpenFile, mode: LockMode): TryStatus;
  unlock(file: OpenFile): void;
  /** Whether it is still the file at its path. */
  isCurrent(file: OpenFile): boolean;
  /** Whether another open file has a lock on it. Not for a file that is locked through this one. */
  isLocked(file: OpenFile): boolean;
  isProbed(file: OpenFile): boolean;
}

export class AddonCalls implements LockCalls {
  readonly layers: Capabilities['layers'] = { lock: 'native-fallback', wait: 'native-fallback' };
  readonly name: 'flock' | 'fcntl';
  readonly locksDirectories: boolean;
  readonly canBeProbed: boolean;
  readonly key: string;
  readonly #file: NativeFileOptions;

  constructor(
    { path, followSymlinks }: LockFileOptions,
    readonly addon: LockAddon,
    /** Undefined: the whole file by `flock`. */
    range: NativeFileOptions['range'],
  ) {
    const isFlock = range === undefined;
    this.name = isFlock ? 'flock' : 'fcntl';
    this.locksDirectories = isFlock;
    this.canBeProbed = isFlock;
    this.key = [this.name, range?.start, range?.length, followSymlinks, path].join();
    this.#file = { path, followSymlinks, range };
  }

  needsWrite(mode: LockMode): boolean {
    return this.name === 'fcntl' && mode === 'exclusive';
  }

  prepare(file: OpenFile): void {
    file.native = new NativeFile(this.addon, file.fd, this.#file);
  }

  tryLock(file: OpenFile, mode: LockMode): TryStatus {
    return file.nativeFile.tryLock(mode);
  }

  unlock(file: OpenFile): void {
    file.nativeFile.unlock();
  }

  isCurrent(file: OpenFile): boolean {
    return file.nativeFile.isCurrent();
  }

  isLocked(file: OpenFile): boolean {
    return file.nativeFile.isLocked();
  }

  isProbed(file: OpenFile): boolean {
    return file.nativeFile.isProbed();
  }
}

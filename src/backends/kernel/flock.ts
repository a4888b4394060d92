/** `flock(2)`: by fs-ext for the calls that it can do, by the addon for the others and where fs-ext is missing. */
import { LockUnsupportedError } from '../../errors.js';
import { isCurrent, type LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, GRANTED, loadLocks, REPLACED } from '../../native/addon.js';
import { type FsExtCalls, loadFsExt } from '../../native/fs-ext.js';
import type { NativeFile, OpenFileLock, TryStatus } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import { ByAddon, keyOf, type Mechanism } from './mechanism.js';

/** Set by the build of the command line. */
declare const FAIRLOCK_CLI: boolean | undefined;

/** @throws {LockUnsupportedError} no native layer loads */
export function flock(options: LockFileOptions): Mechanism {
  const { api: addon, reason: noAddon } = loadLocks();
  // The command line needs the addon in any case, to become its command: then one library is enough.
  const isEnough = addon !== undefined && typeof FAIRLOCK_CLI !== 'undefined';
  const { api: fsExt, reason: noFsExt } = isEnough ? { reason: 'not needed' } : loadFsExt();
  const byAddon = addon === undefined ? undefined : new ByAddon(options, addon, undefined);
  if (fsExt !== undefined) return byFsExt(options, fsExt, byAddon);
  if (byAddon !== undefined) return byAddon;
  const reasons = `fs-ext: ${noFsExt}; native-fallback: ${noAddon}`;
  throw new LockUnsupportedError(options.path, `mechanism 'flock' needs a native layer, and none loads. ${reasons}`);
}

function byFsExt(options: LockFileOptions, fsExt: FsExtCalls, byAddon: ByAddon | undefined): Mechanism {
  return {
    name: 'flock',
    layers: { lock: 'fs-ext', wait: byAddon === undefined ? 'poll' : 'native-fallback' },
    key: keyOf('flock', options),
    addon: byAddon?.addon,
    prepare(file) {
      byAddon?.prepare(file);
      file.fsExt = new FsExtLock(fsExt, options, file, file.native);
    },
  };
}

class FsExtLock implements OpenFileLock {
  constructor(
    private readonly fsExt: FsExtCalls,
    private readonly options: LockFileOptions,
    private readonly file: OpenFile,
    private readonly native: NativeFile | undefined,
  ) {}

  tryLock(mode: LockMode): TryStatus {
    const isLocked = this.#takes(mode);
    return !this.isCurrent() ? REPLACED : isLocked ? GRANTED : CONTENDED;
  }

  unlock(): void {
    this.fsExt.unlock(this.file.fd, this.options.path);
  }

  isCurrent(): boolean {
    return this.native === undefined ? isCurrent(this.options, this.file) : this.native.isCurrent();
  }

  isLocked(): boolean {
    if (this.native !== undefined) return this.native.isLocked();
    // First shared, which takes nothing of a lock that is held exclusively. Then exclusively, which tells of shared
    // ones.
    const isFree = this.#takes('shared') && this.#takes('exclusive');
    this.unlock();
    return !isFree;
  }

  isProbed(): boolean | undefined {
    return this.native?.isProbed();
  }

  #takes(mode: LockMode): boolean {
    return this.fsExt.tryLock(this.file.fd, mode, this.options.path);
  }
}

/** `flock(2)`: by fs-ext for the calls that it can do, by the addon for the others and where fs-ext is missing. */
import type { Capabilities } from '../../core/backend.js';
import { LockUnsupportedError } from '../../errors.js';
import { isCurrent, type LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, GRANTED, type LockAddon, loadAddon, REPLACED } from '../../native/addon.js';
import { type FsExtCalls, loadFsExt } from '../../native/fs-ext.js';
import type { TryStatus } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import { AddonCalls, type LockCalls } from './lock-calls.js';
import { lockFileExCalls } from './lock-file-ex.js';

/** Set by the build of the command line. */
declare const FAIRLOCK_CLI: boolean | undefined;

/** @throws {LockUnsupportedError} no native layer loads */
export function flockCalls(options: LockFileOptions): LockCalls {
  if (process.platform === 'win32') return lockFileExCalls(options);
  const { api: addon, reason: noAddon } = loadAddon();
  // The command line needs the addon in any case, to become its command: then one library is enough.
  const isEnough = addon !== undefined && typeof FAIRLOCK_CLI !== 'undefined';
  const { api: fsExt, reason: noFsExt } = isEnough ? { reason: 'not needed' } : loadFsExt();
  const byAddon = addon === undefined ? undefined : new AddonCalls(options, addon, undefined);
  if (fsExt !== undefined) return new FlockByFsExt(options, fsExt, byAddon);
  if (byAddon !== undefined) return byAddon;
  const reasons = `fs-ext: ${noFsExt}; native-fallback: ${noAddon}`;
  throw new LockUnsupportedError(options.path, `mechanism 'flock' needs a native layer, and none loads. ${reasons}`);
}

class FlockByFsExt implements LockCalls {
  readonly name = 'flock';
  readonly locksDirectories = true;
  readonly layers: Capabilities['layers'];
  readonly canBeProbed: boolean;
  readonly key: string;
  readonly addon: LockAddon | undefined;

  constructor(
    private readonly file: LockFileOptions,
    private readonly fsExt: FsExtCalls,
    private readonly byAddon: AddonCalls | undefined,
  ) {
    this.addon = byAddon?.addon;
    this.layers = { lock: 'fs-ext', wait: byAddon === undefined ? 'poll' : 'native-fallback' };
    this.canBeProbed = byAddon !== undefined;
    this.key = byAddon?.key ?? ['flock', file.followSymlinks, file.path].join();
  }

  needsWrite(): boolean {
    return false;
  }

  prepare(file: OpenFile): void {
    this.byAddon?.prepare(file);
  }

  tryLock(file: OpenFile, mode: LockMode): TryStatus {
    const isGranted = this.fsExt.tryLock(file.fd, mode, this.file.path);
    return !this.isCurrent(file) ? REPLACED : isGranted ? GRANTED : CONTENDED;
  }

  unlock(file: OpenFile): void {
    this.fsExt.unlock(file.fd, this.file.path);
  }

  isCurrent(file: OpenFile): boolean {
    return this.byAddon === undefined ? isCurrent(this.file, file) : this.byAddon.isCurrent(file);
  }

  isLocked(file: OpenFile): boolean {
    if (this.byAddon !== undefined) return this.byAddon.isLocked(file);
    const { fsExt } = this;
    const { path } = this.file;
    // First shared, which takes nothing of a lock that is held exclusively. Then exclusively, which tells of shared
    // ones.
    const isFree = fsExt.tryLock(file.fd, 'shared', path) && fsExt.tryLock(file.fd, 'exclusive', path);
    fsExt.unlock(file.fd, path);
    return !isFree;
  }

  isProbed(file: OpenFile): boolean {
    return this.byAddon?.isProbed(file) ?? false;
  }
}

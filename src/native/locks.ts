/** The addon of this system: what locks, waits and tickets need of it, which Windows has in another shape. */
import { LockUnsupportedError } from '../errors.js';
import { type LockAddon, loadAddon, loadLockFileEx, needByteRanges } from './addon.js';
import type { Loaded } from './loader.js';
import { asAddon } from './windows/lock-file-ex-addon.js';

export function loadLocks(): Loaded<LockAddon> {
  if (process.platform !== 'win32') return loadAddon();
  const { api, reason } = loadLockFileEx();
  return api === undefined ? { reason } : { api: asAddon(api) };
}

/** The addon, for locks of bytes. @throws {LockUnsupportedError} */
export function needRangeLocks(path: string, what: string): LockAddon {
  if (process.platform !== 'win32') return needByteRanges(path, what);
  const { api, reason } = loadLocks();
  if (api !== undefined) return api;
  throw new LockUnsupportedError(path, `${what} needs the addon native-fallback, which did not load: ${reason}`);
}

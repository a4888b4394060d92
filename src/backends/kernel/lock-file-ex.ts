/** The kernel's lock on Windows, by `LockFileEx`: a handle has it, and the system takes it back with the handle. */
import { LockUnsupportedError } from '../../errors.js';
import type { LockFileOptions } from '../../files/lock-file.js';
import { loadLockFileEx } from '../../native/addon.js';
import { asAddon } from '../../native/lock-file-ex.js';
import { AddonCalls } from './lock-calls.js';

/** @throws {LockUnsupportedError} the addon does not load */
export function lockFileExCalls(file: LockFileOptions): AddonCalls {
  const { api, reason } = loadLockFileEx();
  if (api === undefined)
    throw new LockUnsupportedError(file.path, `mechanism 'flock' needs the addon, which did not load: ${reason}`);
  return new LockFileExCalls(file, asAddon(api), undefined);
}

class LockFileExCalls extends AddonCalls {
  override readonly locksDirectories = false;
  override readonly canBeProbed = false;
}

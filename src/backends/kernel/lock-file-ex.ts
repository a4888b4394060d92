/** The kernel's lock on Windows, by `LockFileEx`: a handle has it, and the system takes it back with the handle. */
import { LockUnsupportedError } from '../../errors.js';
import type { LockFileOptions } from '../../files/lock-file.js';
import { loadLocks } from '../../native/locks.js';
import { AddonCalls } from './lock-calls.js';

/** @throws {LockUnsupportedError} the addon does not load */
export function lockFileExCalls(file: LockFileOptions): AddonCalls {
  const { api, reason } = loadLocks();
  if (api !== undefined) return new LockFileExCalls(file, api, undefined);
  throw new LockUnsupportedError(file.path, `mechanism 'flock' needs the addon, which did not load: ${reason}`);
}

class LockFileExCalls extends AddonCalls {
  override readonly locksDirectories = false;
  override readonly canBeProbed = false;
}

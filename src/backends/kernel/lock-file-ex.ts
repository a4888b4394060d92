/** The kernel's lock on Windows, by `LockFileEx`: a handle has it, and the system takes it back with the handle. */
import type { LockFileOptions } from '../../files/lock-file.js';
import { needRangeLocks } from '../../native/locks.js';
import { AddonCalls } from './lock-calls.js';

/** @throws {LockUnsupportedError} the addon does not load */
export function lockFileExCalls(file: LockFileOptions): AddonCalls {
  return new LockFileExCalls(file, needRangeLocks(file.path, "mechanism 'flock'"), undefined);
}

class LockFileExCalls extends AddonCalls {
  override readonly locksDirectories = false;
  override readonly canBeProbed = false;
}

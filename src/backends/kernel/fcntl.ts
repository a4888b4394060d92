/** Open-file-description locks: they conflict with POSIX locks, but closing another descriptor does not drop them. */
import type { LockFileOptions } from '../../files/lock-file.js';
import { needRangeLocks } from '../../native/locks.js';
import type { ByteRange } from '../../options.js';
import { AddonCalls, type LockCalls } from './lock-calls.js';

/** @param range undefined: the whole file @throws {LockUnsupportedError} no addon, or no such locks on this platform */
export function fcntlCalls(options: LockFileOptions, range: ByteRange | undefined): LockCalls {
  const addon = needRangeLocks(options.path, "mechanism 'fcntl'");
  const { start, length } = range ?? { start: 0, length: Infinity };
  return new AddonCalls(options, addon, { start, length: length === Infinity ? 0 : length });
}

/** Open-file-description locks: they conflict with POSIX locks, but closing another descriptor does not drop them. */
import type { LockFileOptions } from '../../files/lock-file.js';
import { needByteRanges } from '../../native/addon.js';
import type { ByteRange } from '../../options.js';
import { ByAddon, type Mechanism } from './mechanism.js';

/** @param range undefined: the whole file @throws {LockUnsupportedError} no addon, or no such locks on this platform */
export function fcntl(file: LockFileOptions, range: ByteRange | undefined): Mechanism {
  const addon = needByteRanges(file.path, "mechanism 'fcntl'");
  const { start, length } = range ?? { start: 0, length: Infinity };
  return new ByAddon(file, addon, { start, length: length === Infinity ? 0 : length });
}

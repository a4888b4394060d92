/**
 * The removal lock: a process holds it while it takes a lock file away from its path, by unlinking it or (`steal`) by
 * renaming another file over it.
 *
 * The race without it: 1. Process A compares the path with its open file: they are the same. 2. A stealer renames its
 * own file to the path. 3. A unlinks the path, and thereby the stealer's file. 4. A third process makes a new file and
 * locks it: two holders. So both lock this byte of the file at the path, far behind all bytes that locks use, and
 * compare with it held. A process that does not get it leaves the file alone (to unlink) or tries again (to steal): also
 * if A does not run for a while between 1 and 3.
 */
import { REMOVAL_BYTE } from '../../files/byte-layout.js';
import type { LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED, type LockAddon } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';

const RANGE = { start: REMOVAL_BYTE, length: 1 };

/** Held until the open file is closed. False: another process has it, or the file is not at the path any more. */
export function takeRemovalLock(addon: LockAddon | undefined, options: LockFileOptions, file: OpenFile): boolean {
  // Where there are no such locks there is none; a stealer learns by the signal of its handle if the worst happens.
  if (addon?.hasOfd !== true) return true;
  const { path, followSymlinks } = options;
  const lock = new NativeFile(addon, file.fd, { path, followSymlinks, range: RANGE });
  if (file.writable) return lock.tryLock('exclusive') === GRANTED;
  // A file that may only be read can be locked shared: of two processes that do so, the one that looks later sees the
  // other. What that one has done before the look is seen at the path.
  return lock.tryLock('shared') === GRANTED && lock.conflict() === undefined && lock.isCurrent();
}

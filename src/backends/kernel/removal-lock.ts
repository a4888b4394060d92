/**
 * The right to take a lock file away from its path: to unlink it, or (`steal`) to put another one in its place.
 *
 * Who unlinks a path compares it with the open file first. Between the two a thief could put its own file there, which
 * would then be unlinked instead, and the next one to come would make a third file: two holders. So both take this byte
 * of the file that is at the path, far behind what anybody locks, and compare with it held; whoever does not get it
 * leaves the file alone (to unlink) or looks at the path again (to steal).
 */

import { REMOVAL_BYTE } from '../../files/byte-layout.js';
import type { LockFileOptions, OpenFile } from '../../files/lock-file.js';
import { GRANTED, type NativeFallback } from '../../native/addon.js';

/** Held until the open file is closed. False: somebody else has it, or the file is not at the path any more. */
export function takeRemovalRight(addon: NativeFallback | undefined, options: LockFileOptions, file: OpenFile): boolean {
  // Without such locks there is none; a thief is told by the signal of its handle if the worst happens.
  if (addon?.hasOfd !== true || !file.writable) return true;
  return (
    addon.tryLock(addon.file(file.fd, options.path, options.followSymlinks, true, REMOVAL_BYTE, 1), false) === GRANTED
  );
}

/**
 * What the doors of the library (command line, cluster, web locks, testing) may know of its files, of other processes
 * and of the addon. They import this and the package's own entry, so that everything behind it can change.
 */
export { canonicalPath } from '../files/canonical-path.js';
export { closeCachedFiles } from '../files/descriptor-cache.js';
export { lockFolderOf, MARK, statAt } from '../files/lock-file.js';
export { LockPlace, MOST_MOVES, movesTooOften, placeOf } from '../files/lock-place.js';
export { parseSiblingName, siblingPath, sidecarOf } from '../files/sibling-files.js';
export { type Addon, loadAddon } from '../native/addon.js';
export { libc } from '../native/binary.js';
export { publish, published } from '../native/thread-registry.js';
export { firstTry } from './first-try.js';
export { Look, mountOf } from './lock-list.js';
export { atOnce } from './looking.js';
export { linkOf, list, read } from './proc.js';
export {
  isHeldBy,
  isTicket,
  lockedAmong,
  locksIn,
  modeByteOf,
  partiesOf,
  queuedAt,
  semaphoreAt,
  startOf,
  statOf,
} from './proc-locks.js';
export { isLockFile, isSidecar, removeIfUnused } from './remove-unused.js';

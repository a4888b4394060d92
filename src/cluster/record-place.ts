/** Whether a record beside a lock file is the only one of that lock. */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { LockMismatchError } from '../errors.js';
import type { InterProcessLock, LockHandle } from '../index.js';
import { LockPlace, mountOf, placeOf, statAt } from '../inspect/index.js';
import { succeeds } from '../quietly.js';
import { lockOptions } from '../validate.js';
import type { RecordOptions } from './draft.js';

/** Where a lock is: its own answer, or, of a lock of another version of this library, what its path tells. */
export function placeFor(lock: InterProcessLock): LockPlace {
  return placeOf(lock) ?? new LockPlace(lock.path, lockOptions({}));
}

/**
 * The place as it is now: a link may have been pointed elsewhere since the lock object was made. Only for the holder of
 * the lock.
 *
 * One lock file that is reached through two folders would have two records: two processes exclude each other and know
 * nothing of each other's tokens and outcomes. So a file with a second name, by a hard link or by a mount of the file
 * itself, is refused.
 * @throws {LockMismatchError}
 */
export function checkedPlace(lock: InterProcessLock): LockPlace {
  const place = placeFor(lock);
  place.look();
  const { path, canonical } = place;
  const stat = statSync(canonical, { throwIfNoEntry: false });
  if (stat?.isFile() && stat.nlink > 1) {
    throw new LockMismatchError(
      path,
      `it has ${stat.nlink} names (hard links), and beside each of them there would be another record`,
    );
  }
  if (stat !== undefined && mountOf(canonical) !== mountOf(dirname(canonical))) {
    throw new LockMismatchError(
      path,
      'it is mounted by itself, and the record beside it would be another one in each folder. Mount its ' +
        'folder instead',
    );
  }
  return place;
}

/** The permissions and the owner of the lock file, which those of its records follow. */
export function likeLock(place: LockPlace): RecordOptions['like'] {
  const stat = statAt(place.canonical, true);
  if (stat?.isFile() !== true) return undefined;
  return { mode: Number(stat.mode) & 0o777, uid: Number(stat.uid), gid: Number(stat.gid) };
}

export function isHeld(handle: LockHandle): boolean {
  return succeeds(() => handle.check());
}

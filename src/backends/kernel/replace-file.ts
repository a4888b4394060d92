/** How a lock of the kernel is stolen: by a new file in the place of the one that is locked. */
import { renameSync, rmSync } from 'node:fs';
import { systemError } from '../../errors.js';
import { type LockFileOptions, openLockFile } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { siblingPath } from '../../files/sibling-files.js';
import type { LockAddon } from '../../native/addon.js';
import { builtins } from '../../require.js';
import type { Mechanism } from './mechanism.js';
import { takeRemovalLock } from './removal-lock.js';

/** A removal takes some microseconds. */
const TRIES = 10;

/**
 * Puts a new file at the path, exclusively locked before other processes can see it. The holder of the old file, and
 * its waiters, find that it is not at the path any more: holders by the watch of their grant, waiters on their grant
 * or, if they follow the replacement, at once.
 * @throws EBUSY another process is removing or replacing the file, or is stopped with the right to: it may go on and
 * unlink what is at the path, so nothing is put there; system errors. Then the file is as it was.
 */
export function replaceFile(options: LockFileOptions, mechanism: Mechanism): OpenFile {
  const { path } = options;
  // Not by pid: two PID namespaces have processes of one number.
  const hidden = siblingPath(path, `steal-${builtins.crypto.randomUUID()}`);
  const fresh = openLockFile({ ...options, path: hidden });
  try {
    mechanism.prepare(fresh);
    // Granted, since no other process knows the file; and said to be replaced, since it is not at our path yet.
    fresh.lock.tryLock('exclusive');
    for (let tries = 0; !putInPlace(hidden, options, mechanism.addon); tries++)
      if (tries === TRIES) throw beingRemoved(path);
    return fresh;
  } catch (error) {
    fresh.close();
    rmSync(hidden, { force: true });
    throw error;
  }
}

/** False: another process is removing or replacing the file. */
function putInPlace(hidden: string, options: LockFileOptions, addon: LockAddon | undefined): boolean {
  const current = openLockFile(options, { access: 'write if allowed' });
  try {
    if (!takeRemovalLock(addon, options, current)) return false;
    renameSync(hidden, options.path);
    return true;
  } finally {
    current.close();
  }
}

function beingRemoved(path: string): Error {
  const error = systemError(builtins.errno.EBUSY, 'rename', path);
  error.message += ' (another process is removing it; is that process stopped?)';
  return error;
}

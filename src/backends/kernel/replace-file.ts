/** How a lock of the kernel is stolen: by a new file in the place of the one that is locked. */
import { randomUUID } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { type LockFileOptions, openLockFile } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { siblingPath } from '../../files/sibling-files.js';
import type { LockCalls } from './lock-calls.js';
import { takeRemovalLock } from './removal-lock.js';

/**
 * A process that holds the removal lock during so many looks was stopped with it. Should it go on and unlink the new
 * file, the stealer learns of the loss.
 */
const REMOVAL_TRIES = 100;

/**
 * Puts a new file at the path, exclusively locked before other processes can see it. The holder of the old file, and
 * its waiters, find that it is not at the path any more: holders by the watch of their grant, waiters on their grant
 * or, if they follow the replacement, at once.
 */
export function replaceFile(options: LockFileOptions, calls: LockCalls): OpenFile {
  const { path } = options;
  // Not by pid: two PID namespaces have processes of one number.
  const hidden = siblingPath(path, `steal-${randomUUID()}`);
  const fresh = openLockFile({ ...options, path: hidden });
  try {
    calls.prepare(fresh);
    // Granted, since no other process knows the file; and said to be replaced, since it is not at our path yet.
    calls.tryLock(fresh, 'exclusive');
    for (let tries = 0; ; tries++) {
      const current = openLockFile(options, { access: 'write if allowed' });
      try {
        if (!takeRemovalLock(calls.addon, options, current) && tries < REMOVAL_TRIES) continue;
        renameSync(hidden, path);
        return fresh;
      } finally {
        current.close();
      }
    }
  } catch (error) {
    fresh.close();
    rmSync(hidden, { force: true });
    throw error;
  }
}

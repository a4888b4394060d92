/** How a lock of the kernel is stolen: by a fresh file in the place of the one that is locked. */
import { randomUUID } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { besides } from '../../files/canonical-path.js';
import { type LockFileOptions, type OpenFile, openLockFile } from '../../files/lock-file.js';
import type { KernelCalls } from './lock-calls.js';
import { takeRemovalRight } from './removal-lock.js';

/** Whoever has the right to remove the file for so long was stopped with it. Should he go on and unlink ours, we are told. */
const PATIENCE = 100;

/**
 * Puts a fresh file at the path, exclusively locked before anybody can see it. Whoever holds the one that was there, or
 * waits for it, finds that it is not at the path any more: holders by the watch of their grant, waiters on their grant
 * or, if they are movable, at once.
 */
export function putInPlace(options: LockFileOptions, calls: KernelCalls): OpenFile {
  const { path } = options;
  // Not by pid: two PID namespaces have processes of one number.
  const hidden = besides(path, `steal-${randomUUID()}`);
  const fresh = openLockFile({ ...options, path: hidden });
  try {
    calls.opened(fresh);
    // Granted, since nobody else knows the file; and said to be replaced, since it is not at our path yet.
    (calls.tryPastLine ?? calls.tryLock)(fresh, false);
    for (let attempt = 0; ; attempt++) {
      const current = openLockFile(options, { access: 'write if allowed' });
      try {
        if (!takeRemovalRight(calls.addon, options, current) && attempt < PATIENCE) continue;
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

/** Removes lock files without holders and waiters. */
import { closeSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { MARK, openLockFile } from '../files/lock-file.js';
import { queueVersionOf } from '../files/queue-header.js';
import { sidecarOf } from '../files/sibling-files.js';
import { GRANTED, type LockAddon, loadAddon, needByteRanges } from '../native/addon.js';
import { NativeFile } from '../native/native-file.js';
import { quietly } from '../quietly.js';

const ALL_BYTES = { start: 0, length: 0 };

/** An empty regular file that carries fairlock's mark. */
export function isLockFile(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.size === 0 && (stat.mode & MARK) !== 0;
}

/** The file of a ticket queue: by its magic or, before it was written, by the mark. */
export function isSidecar(path: string): boolean {
  if (isLockFile(path)) return true;
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  // One that is not to be read is not known to be ours.
  const version = quietly(() => {
    const fd = openSync(path, 'r');
    try {
      return queueVersionOf(fd);
    } finally {
      closeSync(fd);
    }
  });
  return version !== undefined;
}

/**
 * Takes the lock in every way in which a process could hold it, without waiting: flock, and all bytes of the file
 * (fcntl, semaphores). Then it has no holder. A process that waits for the file, or has just opened it, finds on its
 * grant that the file is not at the path any more, and takes the next one: if it uses fairlock. flock(1) and others do
 * not look.
 * @returns false where the lock is held, or a request is queued
 * @throws {LockUnsupportedError} without the addon; system errors
 */
export function removeIfUnused(path: string, dryRun: boolean): boolean {
  // Not by locks alone (Windows): there no file carries the mark.
  const addon = needByteRanges(path, 'removal', loadAddon);
  const sidecar = sidecarOf(path);
  // What is gone already is not made again for the sake of looking.
  if (dryRun && lstatSync(path, { throwIfNoEntry: false }) === undefined) {
    return isSidecar(sidecar) && removeSidecar(addon, sidecar, dryRun);
  }
  const options = { path, mode: 0o666, followSymlinks: false };
  const file = openLockFile(options, { access: 'write' });
  try {
    for (const range of [undefined, ALL_BYTES]) {
      if (new NativeFile(addon, file.fd, { ...options, range }).tryLock('exclusive') !== GRANTED) return false;
    }
    if (isSidecar(sidecar) && !removeSidecar(addon, sidecar, dryRun)) return false;
    if (!dryRun && isLockFile(path)) unlinkSync(path);
    return true;
  } finally {
    // No other process has this open file: with it go both locks.
    file.close();
  }
}

function removeSidecar(addon: LockAddon, path: string, dryRun: boolean): boolean {
  const options = { path, mode: 0o666, followSymlinks: false };
  const file = openLockFile(options, { access: 'write' });
  try {
    const sidecar = new NativeFile(addon, file.fd, { ...options, range: ALL_BYTES });
    return (dryRun ? sidecar.isFirst() : sidecar.removeSidecar()) === GRANTED;
  } finally {
    file.close();
  }
}

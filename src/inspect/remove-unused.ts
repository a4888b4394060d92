/** Removes a lock file that nobody holds or waits for. */
import { closeSync, lstatSync, openSync, readSync, unlinkSync } from 'node:fs';
import { sidecarOf } from '../backends/fifo/ticket-queue.js';
import { systemError } from '../errors.js';
import { MARK, openLockFile } from '../files/lock-file.js';
import { GRANTED, type NativeFallback, needByteRanges } from '../native/addon.js';

/** ticket.h writes it into every sidecar. */
const SIDECAR_MAGIC = 'fairlock-queue 1';

/** An empty regular file that carries fairlock's mark. */
export function isLockFile(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.size === 0 && (stat.mode & MARK) !== 0;
}

/** The file of fairlock's line of waiters: by its magic or, before the first has stood in line, by the mark. */
export function isSidecar(path: string): boolean {
  if (isLockFile(path)) return true;
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  try {
    const fd = openSync(path, 'r');
    try {
      const magic = Buffer.alloc(SIDECAR_MAGIC.length);
      readSync(fd, magic, 0, magic.length, 0);
      return magic.toString('latin1') === SIDECAR_MAGIC;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // Not to be read, so not known to be ours.
  }
}

/**
 * Takes the lock in every way in which somebody could have it, without waiting: flock, and all bytes of the file
 * (fcntl, semaphores). Then nobody holds it. Whoever is waiting, or has just opened it, finds on its grant that the file
 * is not at the path any more, and takes the next one: if it is fairlock. flock(1) and others do not look.
 * @returns false where somebody holds it, or stands in line
 * @throws {LockUnsupportedError} without the addon; system errors
 */
export function removeIfUnused(path: string, dryRun: boolean): boolean {
  const addon = needByteRanges(path, 'removal');
  const sidecar = sidecarOf(path);
  // What is gone already is not made again for the sake of looking.
  if (dryRun && lstatSync(path, { throwIfNoEntry: false }) === undefined)
    return isSidecar(sidecar) && removeSidecar(addon, sidecar, dryRun);
  const file = openLockFile({ path, mode: 0o666, followSymlinks: false }, { access: 'write' });
  try {
    for (const ofd of [false, true]) {
      const status = addon.tryLock(addon.file(file.fd, path, false, ofd, 0, 0), false);
      if (status < 0) throw systemError(-status, ofd ? 'fcntl' : 'flock', path);
      if (status !== GRANTED) return false;
    }
    if (isSidecar(sidecar) && !removeSidecar(addon, sidecar, dryRun)) return false;
    if (!dryRun && isLockFile(path)) unlinkSync(path);
    return true;
  } finally {
    // Nobody else has this open file: with it go both locks.
    file.close();
  }
}

function removeSidecar(addon: NativeFallback, sidecar: string, dryRun: boolean): boolean {
  const line = openLockFile({ path: sidecar, mode: 0o666, followSymlinks: false }, { access: 'write' });
  try {
    const native = addon.file(line.fd, sidecar, false, true, 0, 0);
    return (dryRun ? addon.isFirst(native) : addon.removeSidecar(native)) === GRANTED;
  } finally {
    line.close();
  }
}

/**
 * For `fairlock run`: a `flock` that is free, in the least time, without what serves several requests of a process, and
 * those that wait, which takes longer to load than the lock to get. Whatever is not a plain grant, an error too, is left
 * to the lock that is tried next, in the same way and with all that belongs to it.
 */
import { resolve } from 'node:path';
import { type LockFileOptions, openLockFile } from '../files/lock-file.js';
import { GRANTED, loadAddon } from '../native/addon.js';
import { NativeFile } from '../native/native-file.js';
import type { LockMode } from '../options.js';
import { quietly } from '../quietly.js';

/** An open file that has the lock, and is at the path. */
export function firstTry(path: string, mode: LockMode): number | undefined {
  const { api: addon } = loadAddon();
  if (addon === undefined || path === '') return undefined;
  return quietly(() => {
    // flock(1) locks what it is given, data and directories too, and makes no folders. The current folder may be gone.
    const [dataFile, followSymlinks] = [true, true];
    const makesFolders = (): boolean => false;
    const file: LockFileOptions = { path: resolve(path), mode: 0o666, followSymlinks, dataFile, makesFolders };
    const open = openLockFile(file, { directories: true });
    const native = quietly(() => new NativeFile(addon, open.fd, { ...file, range: undefined }).tryLock(mode));
    if (native === GRANTED) return open.fd;
    open.close();
    return undefined;
  });
}

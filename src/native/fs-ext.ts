/**
 * fs-ext: `flockSync` and nothing else of it; its other calls block libuv's threads or do not work (see
 * docs/mechanisms.md).
 */
import { codeOf, errnoOf, systemError } from '../errors.js';
import type { LockMode } from '../options.js';
import { builtins, requireHere } from '../require.js';
import { loader } from './loader.js';

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

interface FsExt {
  flockSync(fd: number, flags: number): void;
}

export interface FsExtCalls {
  /** False: it is held through another open file. */
  tryLock(fd: number, mode: LockMode, path: string): boolean;
  unlock(fd: number, path: string): void;
}

export const loadFsExt = loader('fs-ext', (): FsExtCalls => {
  if (process.platform === 'win32') throw new Error('Windows has no flock(2)');
  // Loaded in a Worker after the main thread has loaded it, fs-ext kills the process when that Worker ends.
  if (!builtins.workerThreads.isMainThread) throw new Error('fs-ext is unsafe in Workers');
  const fsExt = requireHere('fs-ext') as FsExt;
  if (typeof fsExt.flockSync !== 'function') throw new Error('fs-ext has no flockSync');
  return {
    tryLock(fd, mode, path) {
      try {
        fsExt.flockSync(fd, (mode === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB);
        return true;
      } catch (error) {
        // A contended lock comes as EAGAIN or, by its other name, EWOULDBLOCK.
        if (codeOf(error) === 'EAGAIN' || codeOf(error) === 'EWOULDBLOCK') return false;
        throw withPath(error, path);
      }
    },
    unlock(fd, path) {
      try {
        fsExt.flockSync(fd, LOCK_UN);
      } catch (error) {
        throw withPath(error, path);
      }
    },
  };
});

/** fs-ext knows the descriptor only. */
function withPath(error: unknown, path: string): unknown {
  const errno = errnoOf(error);
  return errno === undefined ? error : systemError(errno, 'flock', path);
}

/** Mechanism `flock`: the `flock(2)` lock, per open file. Excludes flock(1), Python's filelock, Go, Rust. */
import { loadFsExt } from '../binding/fs-ext.js';
import { LockUnsupportedError } from '../errors.js';
import type { KernelCalls } from './kernel-lock.js';
import { isCurrent, type LockFileOptions } from './lock-file.js';

/** Undefined where no layer that can do it loads. */
export function flockCalls(options: LockFileOptions): KernelCalls | undefined {
  const fsExt = loadFsExt().api;
  if (fsExt === undefined) return undefined;
  return {
    name: 'flock',
    directories: true,
    needsWrite: () => false,
    tryLock: (file, shared) => fsExt.tryLock(file.fd, shared, options.path),
    unlock: (file) => fsExt.unlock(file.fd, options.path),
    isCurrent: (file) => isCurrent(options, file),
  };
}

export function flockMissing(path: string): LockUnsupportedError {
  return new LockUnsupportedError(path, `mechanism 'flock' needs fs-ext, which did not load: ${loadFsExt().reason}`);
}

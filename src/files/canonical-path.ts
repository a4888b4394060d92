/** What a path is once links are followed, whether something is there or not. */
import { readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { codeOf } from '../errors.js';
import { quietly } from '../quietly.js';

/** One name for a path however it is spelled: real folders, and for the rest what will be created. */
export function canonicalPath(path: string, followSymlinks: boolean): string {
  const target = followSymlinks ? linkTarget(path) : path;
  return join(realFolder(dirname(target)), basename(target));
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [
    statSync(one, { bigint: true, throwIfNoEntry: false }),
    statSync(other, { bigint: true, throwIfNoEntry: false }),
  ];
  return a !== undefined && a.ino === b?.ino && a.dev === b.dev;
}

/** Where a chain of links at the path ends, whether something is there or not. */
export function linkTarget(path: string): string {
  let target = path;
  for (let hops = 0; hops < 40; hops++) {
    const at = target;
    const link = quietly(() => readlinkSync(at));
    if (link === undefined) return target;
    target = resolve(realFolder(dirname(at)), link);
  }
  return target;
}

function realFolder(folder: string): string {
  try {
    const real = realpathSync.native(folder);
    // Not UTF-8: the name that comes back is that of another folder or of none, and the same for many.
    return real.includes('\ufffd') && !isSame(real, folder) ? folder : real;
  } catch (error) {
    const parent = dirname(folder);
    if (parent === folder || codeOf(error) !== 'ENOENT') return folder;
    return join(realFolder(parent), basename(folder));
  }
}

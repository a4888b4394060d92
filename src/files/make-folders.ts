/** Makes the missing folders of a path. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../errors.js';

/**
 * Step by step, since Node's `recursive` never ends where a folder cannot hold another one though it is there (a mount
 * whose source was removed, /proc/1). One look upwards, one way down: ENOENT means that a folder was removed meanwhile,
 * or cannot be made.
 * @throws system errors, with the path of the folder that was refused
 */
export function makeFolders(folder: string): void {
  const missing: string[] = [];
  for (let at = folder; !make(at, 'ENOENT'); at = dirname(at)) {
    missing.push(at);
    if (dirname(at) === at) break;
  }
  for (const one of missing.reverse()) make(one);
}

/** False: refused with this code. */
function make(folder: string, refusal?: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return true;
    if (code === 'EISDIR') return true; // How some systems say EEXIST of a root.
    if (code === refusal) return false;
    throw error;
  }
}

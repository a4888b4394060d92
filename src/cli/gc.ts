/** `fairlock gc`: removes lock files without holders and waiters. */
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LockError } from '../index.js';
import { isLockFile, isSidecar, parseSiblingName, removeIfUnused } from '../inspect/index.js';
import { CliError, NO_INPUT, UNAVAILABLE, USAGE } from './exit-codes.js';
import { print, say } from './output.js';
import { reasonOf } from './reasons.js';

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90`, `90s`, `15m`, `12h`, `30d`, in ms. */
export function age(text: string): number {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)([smhd]?)$/.exec(text) ?? [];
  if (number === undefined) throw new CliError(`invalid age: '${text}' (expected a number with s, m, h or d)`, USAGE);
  return Number(number) * (UNITS[unit || 's'] ?? 1) * 1000;
}

export function gc(
  folder: string,
  { dryRun, olderThan = 0 }: { dryRun: boolean; olderThan: number | undefined },
): number {
  let removed = 0;
  let inUse = 0;
  for (const path of candidates(folder)) {
    if (!isOlder(path, olderThan)) continue;
    try {
      if (removeIfUnused(path, dryRun)) {
        removed++;
        print(`${dryRun ? 'would remove' : 'removed'} ${path}`);
      } else {
        inUse++;
      }
    } catch (error) {
      if (error instanceof LockError && error.code === 'ERR_LOCK_UNSUPPORTED')
        throw new CliError(error.message, UNAVAILABLE);
      say(`kept ${path}: ${reasonOf(error)}`);
    }
  }
  say(`${removed} ${dryRun ? 'to remove' : 'removed'}, ${inUse} in use`);
  return 0;
}

/** Lock files of ours, and those whose sidecar was left behind alone. */
function candidates(folder: string): Set<string> {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw new CliError(`${folder}: ${reasonOf(error)}`, NO_INPUT);
  }
  const found = new Set<string>();
  for (const name of names) {
    const path = join(folder, name);
    const sibling = parseSiblingName(name);
    if (sibling?.what !== 'queue') {
      if (isLockFile(path)) found.add(path);
    } else if (isSidecar(path) && lstatSync(join(folder, sibling.owner), { throwIfNoEntry: false }) === undefined) {
      found.add(join(folder, sibling.owner));
    }
  }
  return found;
}

/** By when it was made (a lock file is never written to); one that is gone by now is looked at all the same. */
function isOlder(path: string, ms: number): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined || Date.now() - stat.mtimeMs >= ms;
}

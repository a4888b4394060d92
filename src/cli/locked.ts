/** `fairlock locked`: whether any process holds a lock, whatever with. */
import { resolve } from 'node:path';
import { codeOf } from '../errors.js';
import type { MechanismName } from '../index.js';
import { canonicalPath } from '../inspect/index.js';
import { CliError, NO_INPUT } from './exit-codes.js';
import { isLockedWith } from './lock-status.js';
import { print } from './output.js';
import { reasonOf } from './reasons.js';

const FREE = 1;

/** Looks in every way that this machine has, as the kernel answers: holders of other users and containers count too. */
export function locked(file: string): number {
  const canonical = canonicalPath(resolve(file), true);
  // First the lock folder beside it, which needs no file to be opened.
  const held = (['lockfile', 'flock', 'fcntl'] as const).some((mechanism) => isHeld(mechanism, canonical));
  print(held ? 'locked' : 'free');
  return held ? 0 : FREE;
}

function isHeld(mechanism: MechanismName, file: string): boolean {
  try {
    return isLockedWith(mechanism, file);
  } catch (error) {
    // With a mechanism that is not available no process of this machine holds it; a folder has no bytes for fcntl.
    if (['ERR_LOCK_UNSUPPORTED', 'EISDIR'].includes(codeOf(error) ?? '')) return false;
    throw new CliError(`${file}: ${reasonOf(error)}`, NO_INPUT);
  }
}

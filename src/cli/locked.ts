/** `fairlock locked`: whether any process holds a lock, whatever with. */
import { codeOf } from '../errors.js';
import { InterProcessLock, type MechanismName } from '../index.js';
import { CliError, NO_INPUT } from './exit-codes.js';
import { reasonOf } from './reasons.js';

const FREE = 1;

/** Looks in every way that this machine has, as the kernel answers: holders of other users and containers count too. */
export function locked(file: string): number {
  const held = (['flock', 'fcntl', 'lockfile'] as const).some((mechanism) => isLockedWith(mechanism, file));
  process.stdout.write(held ? 'locked\n' : 'free\n');
  return held ? 0 : FREE;
}

function isLockedWith(mechanism: MechanismName, file: string): boolean {
  try {
    return new InterProcessLock(file, { mechanism, followSymlinks: mechanism !== 'lockfile' }).isLocked();
  } catch (error) {
    // What cannot be had here is held by no process of this machine; a folder has no bytes that fcntl could lock.
    if (['ERR_LOCK_UNSUPPORTED', 'EISDIR'].includes(codeOf(error) ?? '')) return false;
    throw new CliError(`${file}: ${reasonOf(error)}`, NO_INPUT);
  }
}

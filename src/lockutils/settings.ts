/** Where external locks are, and whether they are used. */
import { join } from 'node:path';
import { shown } from '../errors.js';
import { optionsObject } from '../validate.js';

/** The environment variable that names the folder of external locks. */
export const OSLO_LOCK_PATH = 'OSLO_LOCK_PATH';

export interface LockutilsDefaults {
  /** The folder of external locks. `undefined` goes back to the environment variable OSLO_LOCK_PATH. */
  lockPath?: string | undefined;
  /** Whether `external: true` is to be ignored. @default false */
  disableProcessLocking?: boolean | undefined;
}

let defaults: { lockPath: string | undefined; disableProcessLocking: boolean } = {
  lockPath: undefined,
  disableProcessLocking: false,
};

/** Sets what is named, and leaves the rest. */
export function setDefaults(given: LockutilsDefaults): void {
  optionsObject<LockutilsDefaults>(given, ['lockPath', 'disableProcessLocking']);
  const { lockPath, disableProcessLocking = defaults.disableProcessLocking } = given;
  if (lockPath !== undefined && typeof lockPath !== 'string')
    throw new TypeError(`lockPath: expected a string, got ${shown(lockPath)}`);
  if (typeof disableProcessLocking !== 'boolean')
    throw new TypeError(`disableProcessLocking: expected true or false, got ${shown(disableProcessLocking)}`);
  defaults = { lockPath: 'lockPath' in given ? lockPath : defaults.lockPath, disableProcessLocking };
}

/** The folder of external locks; undefined if none is set. */
export function getLockPath(): string | undefined {
  return defaults.lockPath ?? (process.env[OSLO_LOCK_PATH] || undefined);
}

export function isProcessLockingDisabled(): boolean {
  return defaults.disableProcessLocking;
}

/**
 * The file of an external lock, as upstream names it: path separators become `_`, the prefix is joined with `-`.
 * @throws {TypeError} there is no lock path
 */
export function externalLockFile(
  name: string,
  lockFilePrefix: string | undefined,
  lockPath: string | undefined,
): string {
  const folder = lockPath ?? getLockPath();
  if (!folder) {
    throw new TypeError(
      `lockPath: required for the external lock ${shown(name)}; give it as an option, by setDefaults(), or ` +
        `in ${OSLO_LOCK_PATH}`,
    );
  }
  const file = name.replaceAll(process.platform === 'win32' ? /[\\/]/g : '/', '_');
  if (!lockFilePrefix) return join(folder, file);
  return join(folder, `${lockFilePrefix}${lockFilePrefix.endsWith('-') ? '' : '-'}${file}`);
}

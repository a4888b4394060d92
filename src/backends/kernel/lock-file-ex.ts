/** The kernel's lock on Windows, by `LockFileEx`. Waiters poll: a call that waits could not be cancelled everywhere. */
import { LockUnsupportedError } from '../../errors.js';
import { isCurrent, type LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, GRANTED, type LockFileEx, loadLockFileEx, REPLACED } from '../../native/addon.js';
import type { TryStatus } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import type { LockCalls } from './lock-calls.js';

/** The errors of Windows that tell something; the others are EIO. */
const CODES = new Map([
  [1, 'ENOTSUP'], // ERROR_INVALID_FUNCTION: a file system without locks
  [5, 'EACCES'],
  [6, 'EBADF'],
  [50, 'ENOTSUP'],
]);

/** @throws {LockUnsupportedError} the addon does not load */
export function lockFileExCalls(file: LockFileOptions): LockCalls {
  const { api, reason } = loadLockFileEx();
  if (api !== undefined) return new LockFileExCalls(file, api);
  throw new LockUnsupportedError(file.path, `mechanism 'flock' needs the addon, which did not load: ${reason}`);
}

/** A handle has the lock, and the system takes it back with the handle, however the process ends. */
class LockFileExCalls implements LockCalls {
  readonly name = 'flock';
  readonly layers = { lock: 'native-fallback', wait: 'poll' } as const;
  readonly locksDirectories = false;
  readonly canBeProbed = false;
  readonly addon = undefined;
  readonly key: string;

  constructor(
    private readonly file: LockFileOptions,
    private readonly api: LockFileEx,
  ) {
    this.key = ['flock', file.followSymlinks, file.path].join();
  }

  needsWrite(): boolean {
    return false;
  }

  prepare(): void {}

  tryLock(file: OpenFile, mode: LockMode): TryStatus {
    const status = this.#checked(this.api.tryLock(file.fd, mode === 'shared'));
    return !this.isCurrent(file) ? REPLACED : status === GRANTED ? GRANTED : CONTENDED;
  }

  unlock(file: OpenFile): void {
    this.#checked(this.api.unlock(file.fd));
  }

  isCurrent(file: OpenFile): boolean {
    return isCurrent(this.file, file);
  }

  /** There is no such question: it is tried, exclusively, which tells of shared ones too. */
  isLocked(file: OpenFile): boolean {
    const isFree = this.#checked(this.api.tryLock(file.fd, false)) === GRANTED;
    if (isFree) this.unlock(file);
    return !isFree;
  }

  isProbed(): boolean {
    return false;
  }

  #checked(status: number): number {
    if (status >= 0) return status;
    const { path } = this.file;
    const code = CODES.get(-status) ?? 'EIO';
    const error = new Error(`${code}: error ${-status} of Windows, LockFileEx '${path}'`);
    throw Object.assign(error, { code, errno: status, syscall: 'LockFileEx', path });
  }
}

/** An open file on Windows, whose bytes are locked: a handle of its own has a lock, and the system takes it back with it. */
import { lstatSync, statSync } from 'node:fs';
import { builtins } from '../../require.js';
import { type FileHandle, type LockFileEx, REPLACED } from '../addon.js';
import { type ByteLocks, WindowsTicket } from './tickets.js';

/** The errors of Windows (winerror.h) that tell something; the others are EIO. */
const ERRORS = new Map<number, keyof typeof builtins.errno>([
  [1, 'ENOTSUP'], // ERROR_INVALID_FUNCTION: a file system without locks
  [5, 'EACCES'],
  [6, 'EBADF'],
  [8, 'EAGAIN'], // no thread, or no memory for one
  [50, 'ENOTSUP'],
  [995, 'ECANCELED'],
]);
export const statusOf = (told: number): number => (told >= 0 ? told : -builtins.errno[ERRORS.get(-told) ?? 'EIO']);

/** What the addon's `file` returns. */
export class OpenHandle implements ByteLocks {
  /** Of a sidecar. */
  readonly ticket = new WindowsTicket(this);
  /** A thread's call blocks on it. Windows makes every other call on it wait for that one. */
  isBusy = false;

  constructor(
    private readonly api: LockFileEx,
    readonly fd: number,
    readonly path: string,
    private readonly follow: boolean,
    readonly start: number,
    readonly length: number,
    private readonly dev: bigint,
    private readonly ino: bigint,
  ) {}

  get isAtPath(): boolean {
    const stat = (this.follow ? statSync : lstatSync)(this.path, { bigint: true, throwIfNoEntry: false });
    return stat !== undefined && stat.dev === this.dev && stat.ino === this.ino;
  }

  try(shared: boolean): number {
    return statusOf(this.api.tryLock(this.fd, shared, this.start, this.length));
  }

  unlock(): number {
    return statusOf(this.api.unlock(this.fd, false, this.start, this.length));
  }

  tryBytes(shared: boolean, from: number, length: number): number {
    return statusOf(this.api.tryLock(this.fd, shared, from, length));
  }

  unlockBytes(from: number, length: number): void {
    this.api.unlock(this.fd, false, from, length);
  }
}

export const handleOf = (handle: FileHandle): OpenHandle => handle as unknown as OpenHandle;
/** A grant on a file that was removed or replaced is none. */
export const ifAtPath = (file: OpenHandle, status: number): number => (status < 0 || file.isAtPath ? status : REPLACED);

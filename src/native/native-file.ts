/** An open file as the addon sees it: one system call, or a few, for each method; what fails is thrown. */
import { toNamespacedPath } from 'node:path';
import { systemError } from '../errors.js';
import type { LockMode } from '../options.js';
import { CONTENDED, type FileHandle, GRANTED, type LockAddon, type REMOVED, type REPLACED } from './addon.js';

/** GRANTED and CONTENDED are said of a file that is still at its path; REPLACED may have been granted or not. */
export type TryStatus = typeof GRANTED | typeof CONTENDED | typeof REPLACED;

export interface NativeFileOptions {
  readonly path: string;
  readonly followSymlinks: boolean;
  /** The bytes that are locked, by `fcntl`; undefined: the whole file, by `flock`. Length 0: to the end. */
  readonly range: { readonly start: number; readonly length: number } | undefined;
}

/** The lock of an open file. All methods throw system errors, with the path. */
export interface OpenFileLock {
  /** Also compares it with the file at its path. */
  tryLock(mode: LockMode): TryStatus;
  unlock(): void;
  /** Whether it is still the file at its path. */
  isCurrent(): boolean;
  /** Whether another open file has a lock on it. Not for a file that is locked through this one. */
  isLocked(): boolean;
  /** Whether a try may have failed because another process was asking `isLocked`. Undefined: nothing tells. */
  isProbed(): boolean | undefined;
}

export class NativeFile implements OpenFileLock {
  readonly syscall: 'flock' | 'fcntl';
  readonly path: string;
  readonly handle: FileHandle;

  /** @param fd stays the caller's */
  constructor(
    readonly addon: LockAddon,
    fd: number,
    { path, followSymlinks, range }: NativeFileOptions,
  ) {
    this.syscall = range === undefined ? 'flock' : 'fcntl';
    this.path = path;
    const { start = 0, length = 0 } = range ?? {};
    const handle = addon.file(fd, toNamespacedPath(path), followSymlinks, range !== undefined, start, length);
    if (typeof handle === 'number') throw systemError(-handle, 'fstat', path);
    this.handle = handle;
  }

  isCurrent(): boolean {
    return this.#checked(this.addon.isCurrent(this.handle)) === GRANTED;
  }

  tryLock(mode: LockMode): TryStatus {
    return this.#checked(this.addon.tryLock(this.handle, mode === 'shared')) as TryStatus;
  }

  unlock(): void {
    this.#checked(this.addon.unlock(this.handle));
  }

  isLocked(): boolean {
    return this.#checked(this.addon.isLocked(this.handle)) === CONTENDED;
  }

  isProbed(): boolean | undefined {
    return this.syscall === 'flock' ? this.addon.isProbed(this.handle) : undefined;
  }

  /** The first of its bytes that another open file has locked, shared or not. */
  conflict(): number | undefined {
    const found = this.addon.conflict(this.handle);
    return found === undefined ? undefined : this.#checked(found);
  }

  /** Contended also where any request has a ticket. REMOVED: `probe` is not the sidecar any more. */
  tryIfQueueEmpty(probe: NativeFile, mode: LockMode): TryStatus | typeof REMOVED {
    const status = this.addon.tryIfQueueEmpty(this.handle, probe.handle, mode === 'shared');
    if (status < 0) probe.isFirst(); // If it was the sidecar that could not be asked, that is thrown, with its path.
    return this.#checked(status) as TryStatus | typeof REMOVED;
  }

  /**
   * Contended also where another request has an earlier ticket than that of the sidecar, which is dropped with the
   * grant.
   */
  tryIfFirst(sidecar: NativeFile, mode: LockMode): TryStatus {
    const status = this.addon.tryIfFirst(this.handle, sidecar.handle, mode === 'shared');
    if (status < 0) sidecar.isFirst();
    return this.#checked(status) as TryStatus;
  }

  /** Of a sidecar. GRANTED: no request has an earlier ticket, or, if this one has none, any. */
  isFirst(): typeof GRANTED | typeof CONTENDED | typeof REMOVED {
    return this.#checked(this.addon.isFirst(this.handle)) as typeof GRANTED | typeof CONTENDED | typeof REMOVED;
  }

  dropTicket(): void {
    this.addon.dropTicket(this.handle);
  }

  /** Of a sidecar, by the holder of the main lock. CONTENDED: a request is queued; negated errnos: see the addon. */
  removeSidecar(): number {
    return this.addon.removeSidecar(this.handle);
  }

  #checked(status: number): number {
    if (status < 0) throw systemError(-status, this.syscall, this.path);
    return status;
  }
}

/** The open lock files of one lock: taken from the cache or opened, prepared, and put back. */
import { codeOf, LockMismatchError } from '../../errors.js';
import { type Access, type LockFileOptions, openLockFile, openToLook } from '../../files/lock-file.js';
import type { LockPlace } from '../../files/lock-place.js';
import type { OpenFile } from '../../files/open-file.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import type { PathState } from '../path-state.js';
import type { Mechanism } from './mechanism.js';
import { isLeased } from './refused.js';

const IN_THE_WAY =
  'it is a folder: a process locks the file beside it with proper-lockfile or its like. Let all use one of the two; ' +
  'if no process does, remove the folder';

export class KernelFiles {
  /** As it was when this was made: a lock whose path changes gets new files. */
  readonly path: string;
  readonly canonical: string;
  readonly file: LockFileOptions;
  /** The file system locks only what is open for writing: NFS, which makes byte-range locks of flock. */
  #needsWrite = false;

  constructor(
    readonly place: LockPlace,
    readonly options: InternalLockOptions,
    private readonly state: PathState,
    private readonly mechanism: Mechanism,
  ) {
    this.path = place.path;
    this.canonical = place.canonical;
    // Bytes of a file are locked because of its content.
    this.file = { ...options, path: this.path, dataFile: options.dataFile || options.range !== undefined };
  }

  /** An open file that no other request of this thread uses. @throws EAGAIN from `open`: see `takeUnlessLeased` */
  take(mode: LockMode): OpenFile {
    const access = this.#access(mode);
    const cached = this.state.descriptors.take(this.mechanism.key, access !== 'read');
    if (cached !== undefined) return cached;
    const file = this.#open(access);
    try {
      this.mechanism.prepare(file);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Undefined: another program has a lease on the file, and gives it up before long. */
  takeUnlessLeased(mode: LockMode): OpenFile | undefined {
    try {
      return this.take(mode);
    } catch (error) {
      if (isLeased(error)) return undefined;
      throw error;
    }
  }

  /** An open file to ask about, not prepared yet. Undefined where there is none. */
  openToLook(): OpenFile | undefined {
    return this.#orInTheWay(() =>
      openToLook(this.file, { access: this.#needsWrite ? 'write' : 'read', directories: this.#directories }),
    );
  }

  /** For the next request. The file is not locked any more. */
  putBack(file: OpenFile): void {
    this.state.descriptors.put(this.mechanism.key, file);
  }

  dispose(): void {
    this.state.descriptors.clear();
  }

  /** Whether the lock was refused since its file is not open for writing; from now on files are. */
  mustWrite(error: unknown, file: OpenFile): boolean {
    if (codeOf(error) !== 'EBADF' || file.writable || this.#needsWrite) return false;
    this.#needsWrite = true;
    return true;
  }

  #access(mode: LockMode): Access {
    if (this.#needsWrite || (this.mechanism.name === 'fcntl' && mode === 'exclusive')) return 'write';
    // The removal lock is a byte-range lock (see removal-lock.ts).
    return this.options.unlinkOnRelease ? 'write if allowed' : 'read';
  }

  #open(access: Access): OpenFile {
    // The file that is opened next may be one to which a link of the path was pointed meanwhile: the next request of
    // the lock goes to the queue of that.
    this.place.look();
    return this.#orInTheWay(() => openLockFile(this.file, { access, directories: this.#directories }));
  }

  get #directories(): boolean {
    const { name, addon } = this.mechanism;
    return this.options.directories && name === 'flock' && addon?.limits?.directories === undefined;
  }

  #orInTheWay<T>(open: () => T): T {
    try {
      return open();
    } catch (error) {
      if (this.options.directories || codeOf(error) !== 'EISDIR') throw error;
      throw new LockMismatchError(this.path, IN_THE_WAY);
    }
  }
}

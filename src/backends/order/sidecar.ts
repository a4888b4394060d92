/** The sidecar of a lock: the file whose bytes are the tickets. Opened, kept open for the next request, removed. */
import { lstatSync } from 'node:fs';
import { LockUnsupportedError } from '../../errors.js';
import { canonicalPath } from '../../files/canonical-path.js';
import { DescriptorCache } from '../../files/descriptor-cache.js';
import { type LockFileOptions, MAX_REPLACED, openLockFile, openToLook } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { sidecarOf } from '../../files/sibling-files.js';
import { CONTENDED, type LockAddon, REMOVED } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';
import { checkProtocol } from './protocol.js';

export class Sidecar {
  readonly path: string;
  readonly #descriptors = new DescriptorCache();

  constructor(
    /** The place of the lock. */
    readonly canonical: string,
    /** Of the lock file. */
    private readonly options: LockFileOptions,
    private readonly addon: LockAddon,
  ) {
    this.path = sidecarOf(canonical);
  }

  /** An open sidecar, to look at the queue without a ticket, or to take one. Returned with `putBack`. */
  open(): OpenFile {
    const cached = this.#descriptors.take(this.path, true);
    return cached ?? this.#prepared(openLockFile(this.#file, { access: 'write' }));
  }

  get #file(): LockFileOptions {
    const { mode, ignoreUmask = false } = this.options;
    const makesFolders = (): boolean => this.#isWhereItWas();
    return { path: this.path, mode, ignoreUmask, followSymlinks: false, isSidecar: true, makesFolders };
  }

  #prepared(file: OpenFile): OpenFile {
    const { path, addon } = this;
    try {
      file.native = new NativeFile(addon, file.fd, { path, followSymlinks: false, range: { start: 0, length: 0 } });
      file.keepable = true; // Its content is ours.
      checkProtocol(file, path);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  putBack(file: OpenFile): void {
    this.#descriptors.put(this.path, file);
  }

  /** Asks something of the sidecar, again if that was removed meanwhile. */
  look<T>(ask: (sidecar: NativeFile) => T | typeof REMOVED): T {
    return this.#look(ask, () => this.open()) as T;
  }

  /** Undefined: there is none, and none is made. */
  lookIfThere<T>(ask: (sidecar: NativeFile) => T | typeof REMOVED): T | undefined {
    return this.#look(ask, () => this.#openIfThere());
  }

  #look<T>(ask: (sidecar: NativeFile) => T | typeof REMOVED, open: () => OpenFile | undefined): T | undefined {
    for (let removed = 0; removed < MAX_REPLACED; removed++) {
      const sidecar = open();
      if (sidecar === undefined) return undefined;
      let answer: T | typeof REMOVED = REMOVED;
      try {
        answer = ask(sidecar.nativeFile);
      } finally {
        if (answer === REMOVED) sidecar.close();
        else this.putBack(sidecar);
      }
      if (answer !== REMOVED) return answer;
    }
    throw this.unsteady();
  }

  /** Whether there is one. */
  exists(): boolean {
    return lstatSync(this.path, { throwIfNoEntry: false }) !== undefined;
  }

  /**
   * 1. This process sees a sidecar. 2. The last holder of the lock removes it, and the lock file. 3. This process opens it:
   * to make it anew would leave it to no process.
   */
  #openIfThere(): OpenFile | undefined {
    if (!this.exists()) return undefined;
    const cached = this.#descriptors.take(this.path, true);
    if (cached !== undefined) return cached;
    const file = openToLook(this.#file, { access: 'write' });
    return file && this.#prepared(file);
  }

  /** Removes it. Only for the holder of the main lock. False: a request is queued. */
  remove(): boolean {
    const file = this.#openIfThere();
    if (file === undefined) return true;
    try {
      return file.nativeFile.removeSidecar() !== CONTENDED;
    } finally {
      file.close();
      this.#descriptors.clear();
    }
  }

  dispose(): void {
    this.#descriptors.clear();
  }

  /** The error where it is another one each time. */
  unsteady(): LockUnsupportedError {
    const why = `it was replaced ${MAX_REPLACED} times in a row between open and lock`;
    return new LockUnsupportedError(this.path, why);
  }

  /**
   * Whether the lock's path still leads to the folder that it led to when this object was made. A link may have been
   * pointed to another folder meanwhile: then the old one, if it was removed, is not to be made anew.
   */
  #isWhereItWas(): boolean {
    const { path, followSymlinks } = this.options;
    return canonicalPath(path, followSymlinks) === this.canonical;
  }
}

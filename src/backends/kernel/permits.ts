/**
 * The permits of a semaphore: byte-range locks on one file.
 *
 *     bytes 0 … permits-1        one permit each, locked exclusively by its holder
 *     byte 1000 + permits        locked shared by holders and waiters: tells how many permits they assume
 *
 * Every process first locks its own number and then looks for others: of two that disagree at least one sees the other
 * and refuses. Every holder and every wait has an open file of its own, and closing it releases all of that.
 */
import type { Grant } from '../../core/backend.js';
import { LockLostError, LockMismatchError, LockUnsupportedError } from '../../errors.js';
import { MOST_PERMITS, PERMIT_NUMBERS } from '../../files/byte-layout.js';
import { isCurrent, type LockFileOptions, MAX_REPLACED, openLockFile } from '../../files/lock-file.js';
import type { LockPlace } from '../../files/lock-place.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED, type LockAddon, REPLACED } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';
import { explained } from './refused.js';

export class Permits {
  constructor(
    readonly file: LockFileOptions,
    readonly count: number,
    private readonly addon: LockAddon,
    private readonly place: LockPlace,
  ) {}

  get path(): string {
    return this.file.path;
  }

  /** One try for any permit; null: none is free. */
  try(): Permit | null {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.#open();
      try {
        const found = this.#tryEach(file);
        if (typeof found === 'number') return new Permit(this.file, file, found);
        file.close();
        if (found === 'none') return null;
      } catch (error) {
        file.close();
        throw this.explained(error);
      }
    }
    throw this.unsteady();
  }

  /** An open file to wait for a permit with. Undefined: it was replaced while it was opened. */
  openFor(permit: number): OpenFile | undefined {
    const file = this.#open();
    try {
      if (this.#announce(file)) {
        file.native = this.bytes(file, permit, 1);
        return file;
      }
    } catch (error) {
      file.close();
      throw this.explained(error);
    }
    file.close();
    return undefined;
  }

  explained(error: unknown): unknown {
    return explained(error, 'fcntl', this.path);
  }

  unsteady(): LockUnsupportedError {
    const why = `its file was replaced ${MAX_REPLACED} times in a row between open and lock`;
    return new LockUnsupportedError(this.path, why);
  }

  bytes(file: OpenFile, start: number, length: number): NativeFile {
    return new NativeFile(this.addon, file.fd, { ...this.file, range: { start, length } });
  }

  /** A link of the path may have been pointed elsewhere: then the next request goes to the queue of the new place. */
  #open(): OpenFile {
    this.place.look();
    return openLockFile(this.file, { access: 'write' });
  }

  /** The number of the permit. */
  #tryEach(file: OpenFile): number | 'none' | 'replaced' {
    if (!this.#announce(file)) return 'replaced';
    for (let permit = 0; permit < this.count; permit++) {
      file.native = this.bytes(file, permit, 1);
      const status = file.native.tryLock('exclusive');
      if (status === REPLACED) return 'replaced';
      if (status === GRANTED) return permit;
    }
    return 'none';
  }

  /** Tells how many permits there are, and looks for processes that tell otherwise. False: not the file at the path. */
  #announce(file: OpenFile): boolean {
    if (this.bytes(file, PERMIT_NUMBERS + this.count, 1).tryLock('shared') === REPLACED) return false;
    const below = this.bytes(file, PERMIT_NUMBERS, this.count);
    const above = this.bytes(file, PERMIT_NUMBERS + this.count + 1, MOST_PERMITS);
    const other = below.conflict() ?? above.conflict();
    if (other === undefined) return true;
    const why = `another process uses it as a semaphore of ${other - PERMIT_NUMBERS} permits, not of ${this.count}`;
    throw new LockMismatchError(this.path, why);
  }
}

export class Permit implements Grant {
  constructor(
    private readonly options: LockFileOptions,
    private readonly file: OpenFile,
    readonly permit: number,
  ) {}

  get fd(): number {
    return this.file.fd;
  }

  unlock(): void {
    this.file.unlockAndClose();
  }

  watch(onLoss: (error: Error) => void): () => void {
    const gone = (): void => onLoss(this.#lost());
    return watchForLoss(this.options.path, () => isCurrent(this.options, this.file), gone);
  }

  check(): void {
    if (!isCurrent(this.options, this.file)) throw this.#lost();
  }

  #lost(): LockLostError {
    return new LockLostError(this.options.path, 'its file was removed or replaced');
  }
}

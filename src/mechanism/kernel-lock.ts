/** Locks of the kernel on an open file: what `flock` and `fcntl` have in common. */
import { unlinkSync } from 'node:fs';
import { codeOf, LockLostError, LockUnsupportedError } from '../errors.js';
import type { ResolvedLockOptions } from '../options.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { type IdleFiles, idleFilesOf } from './idle-files.js';
import { type OpenFile, openLockFile } from './lock-file.js';
import { watchForLoss } from './loss-watch.js';
import type { Grant, Granted, Mechanism } from './mechanism.js';
import { poll, pollSync } from './poll.js';

/** The system calls of one kind of kernel lock. */
export interface KernelCalls {
  readonly name: 'flock' | 'fcntl';
  /** Whether a directory can be locked. */
  readonly directories: boolean;
  needsWrite(shared: boolean): boolean;
  /** False: somebody else holds it. */
  tryLock(file: OpenFile, shared: boolean): boolean;
  unlock(file: OpenFile): void;
  /** Whether the open file is still the one at the path. */
  isCurrent(file: OpenFile): boolean;
}

/** What the kernel says where a file system has no locks (NFS without lockd, some FUSE) or no OFD locks (EINVAL). */
const NO_LOCKS_HERE = new Set(['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL']);

/** Granted at once on a file just opened, and already not the one at the path: that needs bad luck every time. */
const ORPHANS_IN_A_ROW = 100;

/**
 * The file rules. Every holder and every wait has an open file of its own: a second lock through the same open file
 * would be granted at once. After every grant the file is compared with the one at the path: it may have been removed
 * between open and lock, and then others lock the new file. A contended file is compared too, so that nobody waits
 * for the holder of an orphan.
 */
export class KernelLock implements Mechanism {
  readonly name: 'flock' | 'fcntl';
  readonly #idle: IdleFiles;

  constructor(
    readonly path: string,
    readonly options: ResolvedLockOptions,
    queue: FifoQueue,
    readonly calls: KernelCalls,
  ) {
    this.name = calls.name;
    this.#idle = idleFilesOf(queue);
  }

  tryLock(shared: boolean): Grant | null {
    for (let orphans = 0; orphans < ORPHANS_IN_A_ROW; orphans++) {
      const file = this.#take(shared);
      let granted: boolean;
      let current: boolean;
      try {
        granted = this.calls.tryLock(file, shared);
        current = this.calls.isCurrent(file);
      } catch (error) {
        file.close();
        throw this.#explained(error);
      }
      if (current && granted) return new KernelGrant(this, file, shared);
      if (current) {
        this.#idle.put(file);
        return null;
      }
      // Closing drops the lock, if the orphan had given it to us: nobody can share a file we have just opened.
      file.close();
    }
    throw new LockUnsupportedError(
      this.path,
      `the file at the path was another one than the file just opened there ${ORPHANS_IN_A_ROW} times in a row; its file system seems to have no stable inode numbers`,
    );
  }

  wait(shared: boolean, granted: Granted): () => void {
    return poll(() => this.tryLock(shared), granted);
  }

  waitSync(shared: boolean, timeout: number): Grant | null {
    return pollSync(() => this.tryLock(shared), timeout);
  }

  dispose(): void {
    this.#idle.clear();
  }

  /** @internal A grant ends here. Never throws: what cannot be unlocked is closed, which unlocks it. */
  unlock(file: OpenFile, shared: boolean, keep: boolean): void {
    try {
      if (this.options.unlinkOnRelease && this.#remove(file, shared)) return file.close();
      this.calls.unlock(file);
      if (keep) this.#idle.put(file);
      else file.close();
    } catch {
      file.close();
    }
  }

  #take(shared: boolean): OpenFile {
    const needsWrite = this.calls.needsWrite(shared);
    return this.#idle.take(needsWrite) ?? openLockFile({ path: this.path, ...this.options }, { needsWrite, directories: this.calls.directories });
  }

  /**
   * Removal is safe only by one who holds the whole file exclusively: every other fairlock process that has it open
   * then finds, on its grant, that it is not at the path any more. A reader first has to become such a one; it lets
   * go of its share, tries without waiting, and leaves the file to whoever has it if that fails.
   */
  #remove(file: OpenFile, shared: boolean): boolean {
    if (shared) {
      this.calls.unlock(file);
      if (!file.writable || !this.calls.tryLock(file, false)) return false;
    }
    if (!this.calls.isCurrent(file)) return true;
    try {
      unlinkSync(this.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    this.calls.unlock(file);
    return true;
  }

  #explained(error: unknown): unknown {
    const code = codeOf(error) ?? '';
    if (!NO_LOCKS_HERE.has(code)) return error;
    return new LockUnsupportedError(this.path, `${this.name} locks do not work on its file system (${code})`, error);
  }
}

class KernelGrant implements Grant {
  #shown = false;

  constructor(
    private readonly lock: KernelLock,
    private readonly file: OpenFile,
    private readonly shared: boolean,
  ) {}

  get fd(): number {
    this.#shown = true;
    return this.file.fd;
  }

  unlock(): void {
    // A descriptor that was shown may live on in a child: its open file must not carry a later lock of ours.
    this.lock.unlock(this.file, this.shared, !this.#shown);
  }

  watch(lost: (error: Error) => void): () => void {
    const gone = (): void => lost(new LockLostError(this.lock.path, 'its file was removed or replaced'));
    return watchForLoss(this.lock.path, () => this.lock.calls.isCurrent(this.file), gone);
  }
}

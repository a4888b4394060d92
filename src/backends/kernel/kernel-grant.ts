/** A lock of the kernel that is held, and how it ends: unlocked or, with `unlinkOnRelease`, removed. */
import { unlinkSync } from 'node:fs';
import type { Grant } from '../../core/backend.js';
import { LockLostError } from '../../errors.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED } from '../../native/addon.js';
import type { LockMode } from '../../options.js';
import type { KernelLock } from './kernel-lock.js';
import { takeRemovalLock } from './removal-lock.js';

/** Without unlocking, which would unlock it for the processes that have inherited the open file too. */
function detach(this: KernelGrant): void {
  this.file.close();
}

export class KernelGrant implements Grant {
  readonly detach: (() => void) | undefined;
  #isShown = false;

  constructor(
    private readonly lock: KernelLock,
    readonly file: OpenFile,
    private readonly mode: LockMode,
  ) {
    this.detach = lock.mechanism.addon?.limits?.inherit === undefined ? detach : undefined;
  }

  get fd(): number {
    this.#isShown = true;
    return this.file.fd;
  }

  /** What cannot be unlocked is closed, which unlocks it. */
  unlock(): void {
    const { lock, file } = this;
    try {
      if (lock.options.unlinkOnRelease && this.#remove()) return file.close();
      file.lock.unlock();
      // A descriptor that was shown may live on in a child: its open file must not carry a later lock of ours.
      if (this.#isShown) file.close();
      else lock.files.putBack(file);
    } catch {
      file.close();
    }
  }

  watch(onLoss: (error: Error) => void): () => void {
    const gone = (): void => onLoss(this.#lost());
    return watchForLoss(this.lock.files.path, () => this.#isStill(), gone);
  }

  check(): void {
    if (!this.#isStill()) throw this.#lost();
  }

  #lost(): LockLostError {
    return new LockLostError(this.lock.files.path, 'its file was removed or replaced');
  }

  #isStill(): boolean {
    const { place, canonical } = this.lock.files;
    // Of a lock beside a file whose link was pointed elsewhere, the lock file is where it was.
    return this.file.lock.isCurrent() && (!place.mayMoveUnseen || place.leadsTo(canonical));
  }

  /**
   * Removal is safe only for the process that holds the whole file exclusively:
   *     1. A holds the file; B has it open, and waits. 2. A unlinks it, then unlocks. 3. B is granted the removed file,
   *     finds another one, or none, at the path, and starts again with that.
   * Under another holder it is not:
   *     1. A and B hold it shared. 2. A unlinks it. 3. C makes a new file and locks that exclusively, beside B.
   * So a reader first has to become an exclusive holder: it releases its share, tries without waiting, and leaves the
   * file to its holders if that fails.
   */
  #remove(): boolean {
    const { file } = this;
    const { files, mechanism, order } = this.lock;
    if (this.mode === 'shared') {
      file.lock.unlock();
      if (!file.writable || this.lock.tryInOrder(file, 'exclusive') !== GRANTED) return false;
    } else if (!file.lock.isCurrent()) {
      return true;
    }
    try {
      // A request that is queued is about to use the file, and removes it in turn.
      if (order.queue?.sidecar.remove() === false) return false;
      // With fcntl we hold the byte of the removal lock already, with all others.
      if (mechanism.name === 'fcntl' || takeRemovalLock(mechanism.addon, files.file, file)) unlinkSync(files.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    file.lock.unlock();
    return true;
  }
}

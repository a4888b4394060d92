/** A lock of the kernel that is held, and how it ends: unlocked or, with `unlinkOnRelease`, removed. */
import { unlinkSync } from 'node:fs';
import type { Grant } from '../../core/backend.js';
import { LockLostError } from '../../errors.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED } from '../../native/addon.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import type { KernelFiles } from './kernel-files.js';
import type { LockCalls } from './lock-calls.js';
import type { LockTry } from './lock-try.js';
import { takeRemovalLock } from './removal-lock.js';

/** The parts of a lock of the kernel. */
export interface KernelParts {
  readonly files: KernelFiles;
  readonly calls: LockCalls;
  /** The order between processes. */
  readonly order: ProcessOrder;
  readonly tries: LockTry;
}

/** Without unlocking, which would unlock it for the processes that have inherited the open file too. */
function detach(this: KernelGrant): void {
  this.file.close();
}

export class KernelGrant implements Grant {
  /** On Windows a child process inherits a descriptor, but no lock. */
  readonly detach = process.platform === 'win32' ? undefined : detach;
  #isShown = false;

  constructor(
    private readonly lock: KernelParts,
    readonly file: OpenFile,
    private readonly mode: LockMode,
  ) {}

  get fd(): number {
    this.#isShown = true;
    return this.file.fd;
  }

  /** What cannot be unlocked is closed, which unlocks it. */
  unlock(): void {
    const { lock, file } = this;
    try {
      if (lock.files.options.unlinkOnRelease && this.#remove()) return file.close();
      lock.calls.unlock(file);
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
    return this.lock.calls.isCurrent(this.file) && (!place.mayMoveUnseen || place.leadsTo(canonical));
  }

  /**
   * Removal is safe only for the process that holds the whole file exclusively: every other fairlock process that has
   * it open then finds, on its grant, that it is not at the path any more. A reader first has to become an exclusive
   * holder: it releases its share, tries without waiting, and leaves the file to its holders if that fails.
   */
  #remove(): boolean {
    const { file } = this;
    const { files, calls, order, tries } = this.lock;
    if (this.mode === 'shared') {
      calls.unlock(file);
      if (!file.writable || tries.inOrder(file, 'exclusive') !== GRANTED) return false;
    } else if (!calls.isCurrent(file)) {
      return true;
    }
    try {
      // A request that is queued is about to use the file, and removes it in turn.
      if (order.queue?.removeSidecar() === false) return false;
      // With fcntl we hold the byte of the removal lock already, with all others.
      if (calls.name === 'fcntl' || takeRemovalLock(calls.addon, files.file, file)) unlinkSync(files.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    calls.unlock(file);
    return true;
  }
}

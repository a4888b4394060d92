/** One wait in the kernel's own queue: on a thread and an open file of its own. */
import { systemError } from '../../errors.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED, REPLACED } from '../../native/addon.js';
import type { NativeFile } from '../../native/native-file.js';
import { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';

/** Granted only in the first case; in the others the file is closed. */
export type ParkOutcome = 'granted' | 'replaced' | Error;

export class ParkedWait {
  readonly wait: NativeWait;

  /**
   * @param sidecar with a ticket, whose turn is waited for first
   * @throws EAGAIN there is no thread to wait on; then the file is still the caller's
   */
  constructor(
    readonly file: OpenFile,
    sidecar: NativeFile | undefined,
    mode: LockMode,
    private readonly onOutcome: (outcome: ParkOutcome) => void,
  ) {
    const files = { file: file.nativeFile, sidecar };
    this.wait = NativeWait.forLock(files, mode, (status) => this.#end(status));
  }

  /** No outcome is told after this. A lock that is granted all the same is released. */
  cancel(): void {
    this.wait.cancel(() => this.file.unlockAndClose());
  }

  /** No outcome is told after this. False: it had been granted just before, and is the caller's. */
  cancelUnlessGranted(): boolean {
    this.wait.cancel(() => {
      if (!this.wait.wasGranted) this.file.unlockAndClose();
    });
    return !this.wait.wasGranted;
  }

  #end(status: number): void {
    if (status !== GRANTED) this.file.unlockAndClose();
    const { syscall, path } = this.file.nativeFile;
    if (status < 0) this.onOutcome(systemError(-status, syscall, path));
    else this.onOutcome(status === REPLACED ? 'replaced' : 'granted');
  }
}

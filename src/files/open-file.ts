/** A lock file that is open. */
import { closeSync } from 'node:fs';
import { loadAddon } from '../native/addon.js';
import type { NativeFile, OpenFileLock } from '../native/native-file.js';
import { builtins } from '../require.js';

/** Bun leaves the descriptors of a Worker open when it ends, so what they lock would stay locked. */
const LEFT_OPEN = 'bun' in process.versions && !builtins.workerThreads.isMainThread;

export class OpenFile {
  /** Which locks may use it while it is in the descriptor cache. */
  key = '';
  /** What the addon makes of it, where there is an addon. */
  native: NativeFile | undefined = undefined;
  /** What locks it in place of the addon. */
  fsExt: OpenFileLock | undefined = undefined;

  constructor(
    readonly fd: number,
    readonly dev: bigint,
    readonly ino: bigint,
    readonly writable: boolean,
    /** Whether it may stay open while it is not locked: only a file that is a lock file and nothing else. */
    public keepable: boolean,
  ) {
    if (LEFT_OPEN) loadAddon().api?.closeAtEnd(fd, true);
  }

  get nativeFile(): NativeFile {
    if (this.native === undefined) throw new Error('unreachable: opened without the addon');
    return this.native;
  }

  get lock(): OpenFileLock {
    return this.fsExt ?? this.nativeFile;
  }

  /** Unlocks explicitly, since a child process may have inherited the open file. */
  unlockAndClose(): void {
    try {
      this.lock.unlock();
    } catch {
      // Closing unlocks it, unless a child has it.
    }
    this.close();
  }

  close(): void {
    if (LEFT_OPEN) loadAddon().api?.closeAtEnd(this.fd, false);
    try {
      closeSync(this.fd);
    } catch {
      // Whatever close says, the descriptor is gone.
    }
  }
}

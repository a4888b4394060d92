/** The lock behind a name: it can be stolen, and its file goes when the last one lets go. */
import { join } from 'node:path';
import { InterProcessReaderWriterLock, type LockHandle } from '../index.js';
import { fileNameOf } from './file-names.js';

export class NamedLock extends InterProcessReaderWriterLock {
  constructor(directory: string, name: string) {
    super(join(directory, fileNameOf(name)), { fairness: 'auto', unlinkOnRelease: true });
  }

  protected override get movable(): boolean {
    return true;
  }

  /** @param robbed this thread's handles of it */
  steal(robbed: Iterable<LockHandle>): LockHandle {
    return this.lock.steal(robbed);
  }
}

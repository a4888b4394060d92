/** The lock behind a name: it can be stolen, and its file is removed by its last holder. */
import { join } from 'node:path';
import { InterProcessReaderWriterLock, type LockHandle } from '../index.js';
import { fileNameOf } from './file-names.js';

export class NamedLock extends InterProcessReaderWriterLock {
  constructor(directory: string, name: string) {
    super(join(directory, fileNameOf(name)), { fairness: 'auto', unlinkOnRelease: true });
  }

  protected override get followsReplacement(): boolean {
    return true;
  }

  /** @param stolen this thread's handles of it */
  steal(stolen: Iterable<LockHandle>): LockHandle {
    return this.core.steal(stolen);
  }
}

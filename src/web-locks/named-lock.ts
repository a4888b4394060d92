/** The lock behind a name: it can be stolen, and its file goes when the last one lets go. */
import { join } from 'node:path';
import type { AcquireOptions, LockHandle } from '../index.js';
import { PathLock } from '../lock/path-lock.js';
import { fileNameOf } from './file-names.js';

export class NamedLock extends PathLock {
  constructor(directory: string, name: string) {
    super(join(directory, fileNameOf(name)), { fairness: 'auto', unlinkOnRelease: true });
  }

  protected override get movable(): boolean {
    return true;
  }

  acquire(shared: boolean, options: AcquireOptions): Promise<LockHandle> {
    return this.lock.acquire(this.#isShared(shared), options);
  }

  tryAcquire(shared: boolean): LockHandle | null {
    return this.lock.tryAcquire(this.#isShared(shared));
  }

  /** @param robbed this thread's handles of it */
  steal(robbed: Iterable<LockHandle>): LockHandle {
    return this.lock.steal(robbed);
  }

  /** A lock folder knows no sharing. */
  #isShared(shared: boolean): boolean {
    return shared && this.mechanism !== 'lockfile';
  }
}

/**
 * Locks of the kernel on an open file: the rules that `flock` and `fcntl` have in common.
 *
 * Every holder and every wait has an open file of its own: a second lock through the same open file would be granted at
 * once. After every grant the file is compared with the one at the path: it may have been removed between open and
 * lock, and then other processes lock the new file. A contended file is compared too, so that no request waits for the
 * holder of a file that was removed.
 */
import { fstatSync } from 'node:fs';
import type {
  Adoptable,
  Backend,
  Capabilities,
  Grant,
  Inspection,
  PendingAcquire,
  Stealable,
  SyncWaitable,
} from '../../core/backend.js';
import { codeOf, errnoOf, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { isLockFolder, lockFolderOf, MAX_REPLACED } from '../../files/lock-file.js';
import { OpenFile } from '../../files/open-file.js';
import { coversAny, locksUnlessOpened } from '../../inspect/lock-list.js';
import { inspection } from '../../inspect/looking.js';
import { lockParties } from '../../inspect/proc-locks.js';
import { GRANTED, type Limits } from '../../native/addon.js';
import { waitSync } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import { Deadline } from '../../timers.js';
import { KERNEL_TURN } from '../order/turn.js';
import { overlapsHeld } from '../path-registry.js';
import type { PathState } from '../path-state.js';
import { pollSync } from '../poll.js';
import { KernelGrant } from './kernel-grant.js';
import type { KernelLock } from './kernel-lock.js';
import { PendingLock } from './pending-lock.js';
import { replaceFile } from './replace-file.js';

export class KernelBackend implements Backend, SyncWaitable, Stealable, Adoptable {
  readonly name: 'flock' | 'fcntl';

  constructor(
    private readonly lock: KernelLock,
    private readonly state: PathState,
  ) {
    this.name = lock.mechanism.name;
  }

  get capabilities(): Capabilities {
    const { order, mechanism } = this.lock;
    const layers: Capabilities['layers'] =
      order.fairness === 'kernel' ? mechanism.layers : { lock: 'native-fallback', wait: 'native-fallback' };
    return { fairness: order.fairness, layers, answersAtOnce: true, isSemaphore: false };
  }

  tryAcquire(mode: LockMode, isFollowedByWait: boolean): Grant | null {
    if (isFollowedByWait && this.lock.order.isCrowded) return null;
    const file = this.lock.try(mode, KERNEL_TURN, isFollowedByWait);
    return file && new KernelGrant(this.lock, file, mode);
  }

  request(mode: LockMode, onQueued?: () => void): PendingAcquire {
    return new PendingLock(this.lock, mode, this.lock.order.takeTurn(mode, onQueued));
  }

  /** A look: it changes nothing of what it looks at. */
  isLocked(): boolean {
    const { files, path, options, mechanism } = this.lock;
    if (isLockFolder(lockFolderOf(files.file))) return true; // A process without native locks has it.
    const shown = locksUnlessOpened(path, this.name);
    if (shown !== undefined) return shown.some((line) => coversAny(line, options.range));
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = files.openToLook();
      if (file === undefined) return false;
      try {
        mechanism.prepare(file);
        const isLocked = file.lock.isLocked();
        if (file.lock.isCurrent()) return isLocked;
      } catch (error) {
        if (!files.mustWrite(error, file)) throw this.lock.explained(error);
      } finally {
        file.close();
      }
    }
    throw this.lock.unsteady();
  }

  inspect(): Inspection {
    const sidecar = this.lock.order.queue?.sidecar.path;
    const key = `${this.name} ${sidecar}`;
    return inspection(() => lockParties(this.lock.path, this.name, sidecar), { underWay: this.state.looks, key });
  }

  waitSync(mode: LockMode, timeout: number): Grant | null {
    const { lock } = this;
    const deadline = new Deadline(timeout);
    const polled = (): Grant | null => pollSync(() => this.tryAcquire(mode, true), deadline.left);
    if (lock.mechanism.addon === undefined) return polled();
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = lock.files.takeUnlessLeased(mode);
      if (file === undefined) return polled();
      let sidecar: OpenFile | undefined;
      let status: number | undefined;
      try {
        sidecar = lock.order.openSidecar();
        status = waitSync(file.nativeFile, sidecar?.nativeFile, mode, deadline.left, () => {
          file.unlockAndClose();
          sidecar?.close();
        });
      } catch (error) {
        file.close();
        sidecar?.close();
        if (codeOf(error) === 'EAGAIN') return polled(); // There is no thread to wait on.
        throw error;
      }
      if (status === undefined) return null;
      // With the sidecar's descriptor goes the ticket, if it was not dropped with the grant.
      sidecar?.close();
      if (status === GRANTED) return new KernelGrant(lock, file, mode);
      file.unlockAndClose();
      if (status >= 0) continue;
      const error = systemError(-status, this.name, lock.path);
      if (!lock.files.mustWrite(error, file)) throw lock.explained(error);
    }
    throw lock.unsteady();
  }

  overlapsHeld(): boolean {
    return this.name === 'fcntl' && overlapsHeld(this.state.name);
  }

  steal(releaseOwn: () => void): Grant {
    this.#refuseWhereLimited('steal');
    const { lock } = this;
    try {
      const file = replaceFile(lock.files.file, lock.mechanism);
      releaseOwn(); // After it: no other request is granted in between.
      return new KernelGrant(lock, file, 'exclusive');
    } catch (error) {
      throw lock.explained(error);
    }
  }

  /** An open file that has the lock gets it again; one that has not, only if no other open file has it. */
  adopt(fd: number): Grant {
    this.#refuseWhereLimited('inherit');
    const { lock } = this;
    const file = this.#inherited(fd);
    lock.mechanism.prepare(file);
    if (!file.lock.isCurrent())
      throw new LockMismatchError(lock.path, `descriptor ${fd} is another file than the one at the path`);
    if (file.lock.tryLock('exclusive') === GRANTED) return new KernelGrant(lock, file, 'exclusive');
    throw new LockMismatchError(lock.path, `it is not held through descriptor ${fd}, but through another open file`);
  }

  dispose(): void {
    this.lock.files.dispose();
    this.lock.order.queue?.sidecar.dispose();
  }

  #refuseWhereLimited(what: keyof Limits): void {
    const why = this.lock.mechanism.addon?.limits?.[what];
    if (why !== undefined) throw new LockUnsupportedError(this.lock.path, why);
  }

  #inherited(fd: number): OpenFile {
    try {
      const { dev, ino } = fstatSync(fd, { bigint: true });
      return new OpenFile(fd, dev, ino, true, false);
    } catch (error) {
      throw systemError(errnoOf(error) ?? 0, 'fstat', this.lock.path);
    }
  }
}

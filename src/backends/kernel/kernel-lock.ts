/** A lock of the kernel: its parts, and one try of it without waiting, in which queued requests come first. */
import { LockUnsupportedError } from '../../errors.js';
import { MAX_REPLACED } from '../../files/lock-file.js';
import type { LockPlace } from '../../files/lock-place.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, GRANTED } from '../../native/addon.js';
import type { NativeFile, TryStatus } from '../../native/native-file.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import type { Sidecar } from '../order/sidecar.js';
import type { Turn } from '../order/turn.js';
import type { PathState } from '../path-state.js';
import { KernelFiles } from './kernel-files.js';
import type { Mechanism } from './mechanism.js';
import { explained } from './refused.js';

/**
 * Tries that fail because another process asks at that moment whether the lock is held: first one after the other, then
 * with a pause before each, in which the processor can go to a process that was suspended while it asked. One that asks
 * for longer is stopped, or pretends to ask (it needs no more than the right to read the file): it makes no thread wait
 * for more than that.
 */
const PROBED_TRIES = 100;
const PAUSES_MS = [1, 2, 4, 8];
/** So many in a row that no question explains are contended by a holder. */
const HELD_TRIES = 3;
/** Never changed. */
const CELL = new Int32Array(new SharedArrayBuffer(4));

export class KernelLock {
  readonly path: string;
  readonly files: KernelFiles;

  constructor(
    place: LockPlace,
    readonly options: InternalLockOptions,
    state: PathState,
    readonly mechanism: Mechanism,
    /** The order between processes. */
    readonly order: ProcessOrder,
  ) {
    this.path = place.path;
    this.files = new KernelFiles(place, options, state, mechanism);
  }

  /**
   * An open file that has the lock; null: not yet, or another request has an earlier ticket.
   * @param isFollowedByWait whether a contended try need not be right to the microsecond
   */
  try(mode: LockMode, turn: Turn, isFollowedByWait: boolean): OpenFile | null {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const file = this.files.takeUnlessLeased(mode);
      if (file === undefined) return null;
      let status: TryStatus;
      try {
        status = this.#tryOn(file, mode, turn, isFollowedByWait);
      } catch (error) {
        file.close();
        if (this.files.mustWrite(error, file)) continue;
        throw this.explained(error);
      }
      if (status === GRANTED) return file;
      if (status === CONTENDED) {
        this.files.putBack(file);
        return null;
      }
      // Closing drops the lock, if the replaced file had given it to us: no other process has a file that we opened.
      file.close();
    }
    throw this.unsteady();
  }

  /** By a request without a ticket. */
  tryInOrder(file: OpenFile, mode: LockMode): TryStatus {
    const { queue } = this.order;
    if (queue === undefined) return file.lock.tryLock(mode);
    try {
      return this.#ifQueueEmpty(queue.sidecar, file, mode);
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
      return file.lock.tryLock(mode);
    }
  }

  explained(error: unknown): unknown {
    return explained(error, this.mechanism.name, this.path);
  }

  /** The error where the file is another one each time. */
  unsteady(): LockUnsupportedError {
    const why =
      `the file at the path was another one than the file just opened there ${MAX_REPLACED} times in a row; ` +
      'its file system seems to have no stable inode numbers';
    return new LockUnsupportedError(this.path, why);
  }

  #tryOn(file: OpenFile, mode: LockMode, { sidecar }: Turn, isFollowedByWait: boolean): TryStatus {
    if (sidecar !== undefined) return file.nativeFile.tryIfFirst(sidecar, mode);
    const status = this.tryInOrder(file, mode);
    return status === CONTENDED && !isFollowedByWait ? this.#unlessProbed(file, mode) : status;
  }

  #ifQueueEmpty(sidecar: Sidecar, file: OpenFile, mode: LockMode): TryStatus {
    // Where files come and go, no sidecar is made while no request is queued. One that is made after this look is of a
    // request that has asked later.
    const ask = (open: NativeFile) => file.nativeFile.tryIfQueueEmpty(open, mode);
    if (!this.options.unlinkOnRelease) return sidecar.look<TryStatus>(ask);
    return sidecar.lookIfThere<TryStatus>(ask) ?? file.lock.tryLock(mode);
  }

  /**
   * A contended try once more, unless it was contended by a holder: another process that asks `isLocked` has the lock
   * for some microseconds, or longer if it does not run meanwhile. It says so (isProbed), but may be done between our
   * try and our look: so a holder is believed only after some tries in a row.
   */
  #unlessProbed(file: OpenFile, mode: LockMode): TryStatus {
    for (let tries = 0, held = 0; tries < PROBED_TRIES + PAUSES_MS.length && held < HELD_TRIES; tries++) {
      const isProbed = file.lock.isProbed();
      if (isProbed === undefined) return CONTENDED;
      held = isProbed ? 0 : held + 1;
      const pause = PAUSES_MS[tries - PROBED_TRIES];
      if (held === 0 && pause !== undefined) Atomics.wait(CELL, 0, 0, pause);
      const status = this.tryInOrder(file, mode);
      if (status !== CONTENDED) return status;
    }
    return CONTENDED;
  }
}

/** One try on an open file, without waiting: queued requests come first, and a question is not taken for a holder. */
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED } from '../../native/addon.js';
import type { TryStatus } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import type { TicketQueue } from '../order/ticket-queue.js';
import type { Turn } from '../order/turn.js';
import type { LockCalls } from './lock-calls.js';

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

export class LockTry {
  constructor(
    private readonly calls: LockCalls,
    private readonly order: ProcessOrder,
    private readonly unlinksOnRelease: boolean,
  ) {}

  /** @param isFollowedByWait whether a contended try need not be right to the microsecond */
  try(file: OpenFile, mode: LockMode, { sidecar }: Turn, isFollowedByWait: boolean): TryStatus {
    if (sidecar !== undefined) return file.nativeFile.tryIfFirst(sidecar, mode);
    const status = this.inOrder(file, mode);
    return status === CONTENDED && !isFollowedByWait ? this.#unlessProbed(file, mode) : status;
  }

  /** By a request without a ticket. */
  inOrder(file: OpenFile, mode: LockMode): TryStatus {
    const { queue } = this.order;
    if (queue === undefined) return this.calls.tryLock(file, mode);
    try {
      return this.#ifQueueEmpty(queue, file, mode);
    } catch (error) {
      if (!this.order.doWithout(error)) throw error;
      return this.calls.tryLock(file, mode);
    }
  }

  #ifQueueEmpty(queue: TicketQueue, file: OpenFile, mode: LockMode): TryStatus {
    // Where files come and go, no sidecar is made while no request is queued. One that is made after this look is of a
    // request that has asked later.
    if (this.unlinksOnRelease && !queue.exists()) return this.calls.tryLock(file, mode);
    return queue.look((sidecar) => file.nativeFile.tryIfQueueEmpty(sidecar, mode));
  }

  /**
   * A contended try once more, unless it was contended by a holder: another process that asks `isLocked` has the lock
   * for some microseconds, or longer if it does not run meanwhile. It says so (isProbed), but may be done between our
   * try and our look: so a holder is believed only after some tries in a row.
   */
  #unlessProbed(file: OpenFile, mode: LockMode): TryStatus {
    if (!this.calls.canBeProbed) return CONTENDED;
    for (let tries = 0, held = 0; tries < PROBED_TRIES + PAUSES_MS.length && held < HELD_TRIES; tries++) {
      held = this.calls.isProbed(file) ? 0 : held + 1;
      const pause = PAUSES_MS[tries - PROBED_TRIES];
      if (held === 0 && pause !== undefined) Atomics.wait(CELL, 0, 0, pause);
      const status = this.inOrder(file, mode);
      if (status !== CONTENDED) return status;
    }
    return CONTENDED;
  }
}

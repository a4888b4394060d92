/**
 * The order of a lock's requests between processes: that of the ticket queue of its path, or the kernel's. With fairness
 * 'auto' the lock goes on in the kernel's order where the queue fails.
 */
import { codeOf } from '../../errors.js';
import type { LockPlace } from '../../files/lock-place.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockMode } from '../../options.js';
import type { TicketQueue } from './ticket-queue.js';
import { KERNEL_TURN, type Turn } from './turn.js';

/**
 * Why there can be no sidecar, or no byte-range locks on it, for this process: rights, a full disk, a name that is too
 * long, something else in its place, a sidecar of another version of the protocol.
 */
const NOT_AVAILABLE = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENAMETOOLONG',
  'EINVAL',
  'ENOLCK',
  'ENOSYS',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOSPC',
  'EDQUOT',
  'EFBIG',
  'ELOOP',
  'EISDIR',
  'ENOTDIR',
  'ENXIO',
  'ERR_LOCK_UNSUPPORTED',
  'ERR_LOCK_MISMATCH',
]);

export class ProcessOrder {
  #queue: TicketQueue | undefined;

  /** @param queue undefined: the kernel's order */
  constructor(
    queue: TicketQueue | undefined,
    private readonly isOptional: boolean,
    private readonly place: LockPlace,
  ) {
    this.#queue = queue;
  }

  /**
   * Undefined also where a link of the path was pointed elsewhere since this was made: what is under way goes on in the
   * kernel's order, the next request uses the queue of the new place.
   */
  get queue(): TicketQueue | undefined {
    return this.#queue?.sidecar.canonical === this.place.canonical ? this.#queue : undefined;
  }

  /** Whether the path leads to another place now than the queue's. */
  hasMoved(): boolean {
    this.place.look();
    return this.#queue !== undefined && this.queue === undefined;
  }

  get fairness(): 'kernel' | 'fifo' {
    return this.#queue === undefined ? 'kernel' : 'fifo';
  }

  /** Whether a request had better take its ticket at once: see `TicketQueue.isCrowded`. */
  get isCrowded(): boolean {
    return this.queue?.isCrowded ?? false;
  }

  /** @param onQueued called once it is taken */
  takeTurn(mode: LockMode, onQueued: (() => void) | undefined): Turn {
    const turn = this.queue?.takeTicket(mode, onQueued) ?? KERNEL_TURN;
    if (turn.failure === undefined || !this.doWithout(turn.failure)) return turn;
    turn.drop(false);
    return KERNEL_TURN;
  }

  /** To wait with for a ticket. Undefined: there is no queue. */
  openSidecar(): OpenFile | undefined {
    try {
      return this.queue?.sidecar.open();
    } catch (error) {
      if (!this.doWithout(error)) throw error;
      return undefined;
    }
  }

  /** Whether a request goes on without the queue because of this error; with fairness 'auto' all that follow too. */
  doWithout(error: unknown): boolean {
    // The folder is gone to which a link of the path led before.
    if (codeOf(error) === 'ENOENT' && this.hasMoved()) return true;
    if (!this.isOptional || !NOT_AVAILABLE.has(codeOf(error) ?? '')) return false;
    this.#queue = undefined;
    return true;
  }
}

/**
 * A lock's access to the ticket queue of its path. With fairness 'auto' the lock goes on without a queue that fails.
 */
import { codeOf } from '../../errors.js';
import type { LockPlace } from '../../files/lock-place.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockMode } from '../../options.js';
import type { Ticket } from './ticket.js';
import type { TicketQueue } from './ticket-queue.js';

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

export class QueueAccess {
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
    return this.#queue?.canonical === this.place.canonical ? this.#queue : undefined;
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
  takeTicket(mode: LockMode, onQueued: (() => void) | undefined): Ticket | undefined {
    const ticket = this.queue?.takeTicket(mode, onQueued);
    if (ticket?.failure === undefined || !this.doWithout(ticket.failure)) return ticket;
    ticket.cancel();
    return undefined;
  }

  /** To wait with for a ticket. Undefined: there is no queue. */
  openSidecar(): OpenFile | undefined {
    try {
      return this.queue?.open();
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

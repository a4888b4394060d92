/**
 * A lock's access to the ticket queue of its path. With fairness 'auto' the lock goes on without a queue that fails.
 */
import { codeOf } from '../../errors.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockMode } from '../../options.js';
import type { Ticket, TicketQueue } from './ticket-queue.js';

/** Why there can be no sidecar, or no byte-range locks on it, for this process. */
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
]);

export class QueueAccess {
  #queue: TicketQueue | undefined;

  /** @param queue undefined: the kernel's order */
  constructor(
    queue: TicketQueue | undefined,
    private readonly isOptional: boolean,
  ) {
    this.#queue = queue;
  }

  get queue(): TicketQueue | undefined {
    return this.#queue;
  }

  get fairness(): 'kernel' | 'fifo' {
    return this.#queue === undefined ? 'kernel' : 'fifo';
  }

  /** Whether a request had better take its ticket at once: see `TicketQueue.isCrowded`. */
  get isCrowded(): boolean {
    return this.#queue?.isCrowded ?? false;
  }

  /** @param onQueued called once it is taken */
  takeTicket(mode: LockMode, onQueued: (() => void) | undefined): Ticket | undefined {
    const ticket = this.#queue?.takeTicket(mode, onQueued);
    if (ticket?.failure === undefined || !this.doWithout(ticket.failure)) return ticket;
    ticket.cancel();
    return undefined;
  }

  /** To wait with for a ticket. Undefined: there is no queue. */
  openSidecar(): OpenFile | undefined {
    try {
      return this.#queue?.open();
    } catch (error) {
      if (!this.doWithout(error)) throw error;
      return undefined;
    }
  }

  /** Whether the lock does without the queue from now on, because of this error. */
  doWithout(error: unknown): boolean {
    if (!this.isOptional || !NOT_AVAILABLE.has(codeOf(error) ?? '')) return false;
    this.#queue = undefined;
    return true;
  }
}

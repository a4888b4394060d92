/**
 * Strict order between processes: a ticket for every request, taken when it is made. The tickets of all processes are
 * byte locks on one sidecar file (native-fallback/src/ticket.h has the system calls, docs/fairness.md the argument).
 * Here: which of this thread's requests has a ticket.
 */
import type { LockMode } from '../../options.js';
import type { Sidecar } from './sidecar.js';
import { Ticket } from './ticket.js';

/** Tickets that one thread has taken ahead: many of them would make the kernel's list of locks long. */
const MOST_AHEAD = 16;

/** One per path and thread. */
export class TicketQueue {
  /** The last request had to wait. The next one takes its ticket at once, and tries only if it is the first. */
  isCrowded = false;
  /** Requests without a ticket yet, in order of arrival. */
  readonly #waiting = new Set<Ticket>();
  #ahead = 0;
  #isTaking = false;

  constructor(readonly sidecar: Sidecar) {}

  /** A place at the end of the queue. @param onTaken called once it is taken */
  takeTicket(mode: LockMode, onTaken: (() => void) | undefined): Ticket {
    const ticket: Ticket = new Ticket(this.sidecar, mode, onTaken, (wasTaken, hadToWait) => {
      this.isCrowded = hadToWait ?? this.isCrowded;
      this.#waiting.delete(ticket);
      if (wasTaken) this.#ahead--;
      this.#takeNext();
    });
    this.#waiting.add(ticket);
    this.#takeNext();
    return ticket;
  }

  /** One at a time, so that tickets come in the order of the requests. */
  #takeNext(): void {
    while (!this.#isTaking && this.#ahead < MOST_AHEAD) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      this.#waiting.delete(next);
      this.#ahead++;
      this.#isTaking = true;
      next.take(() => {
        this.#isTaking = false;
        this.#takeNext();
      });
    }
  }
}

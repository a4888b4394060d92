/**
 * The way of a request that was not granted at once:
 *
 *     new ──▶ ticketing ──▶ (try) ──▶ parked ──▶ done
 *       └──────────────────────┘ ▲       │
 *                                └───────┘ the file was replaced meanwhile
 *
 * `ticketing`: its ticket is still being taken (fairness 'fifo' only). `parked`: a thread waits in the kernel.
 * `polling` in its place, where there is no thread to wait on. Everything happens on the thread of JavaScript, so no
 * two steps of one request run at once; `cancel` leads from every state to `done`.
 */
import type { Done, Grant, PendingAcquire } from '../../core/backend.js';
import { codeOf } from '../../errors.js';
import { MAX_REPLACED } from '../../files/lock-file.js';
import { hasStuckWaits } from '../../native/native-wait.js';
import type { QueueAccess } from '../fifo/queue-access.js';
import type { Ticket } from '../fifo/ticket.js';
import { poll } from '../poll.js';

export abstract class PendingRequest implements PendingAcquire {
  #state: 'new' | 'ticketing' | 'parked' | 'polling' | 'done' = 'new';
  #done: Done = () => {};
  #endPoll: () => void = () => {};

  #replaced = 0;

  /** @param ticket its place in the queue of all processes, if they queue */
  constructor(
    private readonly order: QueueAccess,
    protected ticket: Ticket | undefined,
  ) {}

  start(done: Done, justTried: boolean): void {
    this.#done = done;
    if (this.ticket?.isPending) {
      this.#state = 'ticketing';
      this.ticket.whenReady(() => this.step(() => this.#onTicket()));
    } else this.step(() => (justTried && !this.ticket?.isFirst ? this.#wait() : this.tryThenWait()));
  }

  cancel(): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    this.#endPoll();
    // The ticket first: waiters behind need not wait until the thread has noticed.
    this.ticket?.cancel();
    this.unpark();
  }

  /** One try; null: not yet. */
  protected abstract tryAcquire(): Grant | null;
  /** Waits in the kernel. False: there is no way to. @throws EAGAIN there is no thread to wait on */
  protected abstract park(): boolean;
  /** Ends that, if it goes on. */
  protected abstract unpark(): void;

  protected get isParked(): boolean {
    return this.#state === 'parked';
  }

  /** What a step throws ends the request. */
  protected step(next: () => void): void {
    try {
      next();
    } catch (error) {
      if (this.#state === 'done') throw error;
      this.#end(error);
    }
  }

  #onTicket(): void {
    const failure = this.ticket?.failure;
    if (failure !== undefined && this.order.doWithout(failure)) this.#dropTicket();
    this.tryThenWait();
  }

  #dropTicket(): void {
    this.ticket?.cancel();
    this.ticket = undefined;
  }

  /** The file was replaced while it was waited for. @throws {LockUnsupportedError} time and again */
  protected tryAnew(): void {
    if (++this.#replaced >= MAX_REPLACED) throw this.unsteady();
    // A link was pointed elsewhere: the ticket is one of the queue of the old place, where others wait for it.
    if (this.ticket !== undefined && this.order.hasMoved()) this.#dropTicket();
    this.tryThenWait();
  }

  /** The error where the file is another one each time. */
  protected abstract unsteady(): Error;

  protected tryThenWait(): void {
    const grant = this.tryAcquire();
    if (grant === null) this.#wait();
    else this.granted(grant);
  }

  protected granted(grant: Grant): void {
    this.#end(undefined, grant);
  }

  #wait(): void {
    try {
      // Where earlier waits could not be interrupted, each new one might add a thread that stays: so it polls.
      if (!hasStuckWaits() && this.park()) {
        this.#state = 'parked';
        return;
      }
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error;
    }
    this.#state = 'polling';
    this.#endPoll = poll(
      () => this.tryAcquire(),
      (error, grant) => this.#end(error, grant),
    );
  }

  #end(error: unknown, grant?: Grant): void {
    this.#state = 'done';
    if (grant === undefined) this.ticket?.cancel();
    this.#done(error, grant);
  }
}

/** A request for a permit: it waits for its turn, if requests queue, then for whichever permit is released first. */
import type { Grant } from '../../core/backend.js';
import { systemError } from '../../errors.js';
import type { OpenFile } from '../../files/open-file.js';
import { GRANTED } from '../../native/addon.js';
import { NativeWait } from '../../native/native-wait.js';
import { clearImmediate, setImmediate } from '../../timers.js';
import type { QueueAccess } from '../fifo/queue-access.js';
import type { Ticket } from '../fifo/ticket.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';
import { PendingRequest } from './pending-request.js';

/** The semaphore that is waited for. */
export interface PermitSource {
  readonly path: string;
  readonly permits: number;
  /** One try; null: none is free, or another request has an earlier ticket. */
  tryWith(ticket: Ticket | undefined): Grant | null;
  /** One try for any permit, whatever is queued. */
  tryPermits(ticket: Ticket | undefined): Grant | null;
  /** An open file to wait for a permit with. Undefined: it was replaced while it was opened. */
  openFor(permit: number): OpenFile | undefined;
  /** The open file has the permit: the turn passes to the next request. */
  grant(file: OpenFile, permit: number, ticket: Ticket | undefined): Grant;
  /** What an error of the lock is told as. */
  explained(error: unknown): unknown;
  unsteady(): Error;
}

/** A wait has a thread for each permit; of a semaphore with more permits it polls. */
const MOST_THREADS = 64;

export class PendingPermit extends PendingRequest {
  /** One thread for each permit. */
  #waits: ParkedWait[] = [];
  #turn: NativeWait | undefined;
  #again: NodeJS.Immediate | undefined;
  /** Its turn has come: it competes for the permits, and only with processes that do not queue. */
  #isFirst: boolean;

  constructor(
    private readonly semaphore: PermitSource,
    order: QueueAccess,
    ticket: Ticket | undefined,
  ) {
    super(order, ticket);
    this.#isFirst = ticket === undefined;
  }

  protected override tryAcquire(): Grant | null {
    return this.#isFirst ? this.semaphore.tryPermits(this.ticket) : this.semaphore.tryWith(this.ticket);
  }

  protected override park(): boolean {
    if (this.#isFirst && this.semaphore.permits > MOST_THREADS) return false;
    if (this.#isFirst) this.#parkOnEach();
    else this.#parkForTurn();
    return true;
  }

  protected override unsteady(): Error {
    return this.semaphore.unsteady();
  }

  protected override unpark(): void {
    this.#turn?.cancel();
    if (this.#again !== undefined) clearImmediate(this.#again);
    for (const wait of this.#waits.splice(0)) wait.cancel();
  }

  #parkForTurn(): void {
    const { ticket } = this;
    if (ticket === undefined) throw new Error('unreachable: a turn without a ticket');
    const { sidecar } = ticket;
    const onTurn = (status: number): void => {
      this.#turn = undefined;
      if (status !== GRANTED) throw this.semaphore.explained(systemError(-status, 'fcntl', this.semaphore.path));
      this.#isFirst = true;
      this.tryThenWait();
    };
    const onEnd = (status: number): void => this.step(() => onTurn(status));
    this.#turn = NativeWait.forLock({ sidecar }, 'exclusive', onEnd);
    ticket.park(this.#turn);
  }

  /** The first wait that is granted wins, and the others are cancelled. */
  #parkOnEach(): void {
    try {
      for (let permit = 0; permit < this.semaphore.permits; permit++) {
        const wait = this.#parkOn(permit);
        if (wait !== undefined) this.#waits.push(wait);
      }
    } catch (error) {
      this.unpark();
      throw error;
    }
    // The file was replaced during each of the opens.
    if (this.#waits.length === 0) this.#again = setImmediate(() => this.step(() => this.tryAnew()));
  }

  #parkOn(permit: number): ParkedWait | undefined {
    const file = this.semaphore.openFor(permit);
    if (file === undefined) return undefined;
    const onOutcome = (outcome: ParkOutcome): void => {
      this.#waits = this.#waits.filter((wait) => wait.file !== file);
      this.unpark();
      if (outcome === 'granted') this.granted(this.semaphore.grant(file, permit, this.ticket));
      else if (outcome === 'replaced') this.tryAnew();
      else throw this.semaphore.explained(outcome);
    };
    try {
      return new ParkedWait(file, undefined, 'exclusive', (outcome) => this.step(() => onOutcome(outcome)));
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

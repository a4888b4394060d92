/** A request for a permit: it waits for its turn, if requests queue, then for whichever permit is released first. */
import type { Grant } from '../../core/backend.js';
import type { OpenFile } from '../../files/open-file.js';
import { clearImmediate, setImmediate } from '../../timers.js';
import type { ProcessOrder } from '../order/process-order.js';
import { KERNEL_TURN, type Turn } from '../order/turn.js';
import { PendingRequest, type WaitOutcome } from './pending-request.js';

/** The semaphore that is waited for. */
export interface PermitSource {
  readonly path: string;
  readonly permits: number;
  /** One try; null: none is free, or another request has an earlier ticket. */
  tryWith(turn: Turn): Grant | null;
  /** One try for any permit, whatever is queued. */
  tryPermits(turn: Turn): Grant | null;
  /** An open file to wait for a permit with. Undefined: it was replaced while it was opened. */
  openFor(permit: number): OpenFile | undefined;
  /** The open file has the permit: the turn passes to the next request. */
  grant(file: OpenFile, permit: number, turn: Turn): Grant;
  /** What an error of the lock is told as. */
  explained(error: unknown): unknown;
  unsteady(): Error;
}

/** A wait has a thread for each permit; of a semaphore with more permits it polls. */
const MOST_THREADS = 64;

export class PendingPermit extends PendingRequest {
  /** Its turn has come: it competes for the permits, and only with processes that do not queue. */
  #isFirst: boolean;

  constructor(
    private readonly semaphore: PermitSource,
    order: ProcessOrder,
    turn: Turn,
  ) {
    super(order, turn);
    this.#isFirst = turn === KERNEL_TURN;
  }

  protected override tryAcquire(): Grant | null {
    return this.#isFirst ? this.semaphore.tryPermits(this.turn) : this.semaphore.tryWith(this.turn);
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

  #parkForTurn(): void {
    this.parkOn(undefined, 'exclusive', true, (outcome) => {
      if (outcome !== 'granted') throw this.semaphore.explained(outcome);
      this.#isFirst = true;
      this.tryThenWait();
    });
  }

  /** One thread for each permit: the first wait that is granted wins, and the others are cancelled. */
  #parkOnEach(): void {
    let waits = 0;
    try {
      for (let permit = 0; permit < this.semaphore.permits; permit++) if (this.#parkOnPermit(permit)) waits++;
    } catch (error) {
      this.endWaits();
      throw error;
    }
    if (waits > 0) return;
    // The file was replaced during each of the opens.
    const again = setImmediate(() => this.step(() => this.tryAnew()));
    this.endWatch = () => clearImmediate(again);
  }

  /** False: the file was replaced while it was opened. */
  #parkOnPermit(permit: number): boolean {
    const file = this.semaphore.openFor(permit);
    if (file === undefined) return false;
    const onOutcome = (outcome: WaitOutcome): void => {
      this.endWaits();
      if (outcome === 'granted') this.granted(this.semaphore.grant(file, permit, this.turn));
      else if (outcome === 'replaced') this.tryAnew();
      else throw this.semaphore.explained(outcome);
    };
    try {
      this.parkOn(file, 'exclusive', false, onOutcome);
      return true;
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

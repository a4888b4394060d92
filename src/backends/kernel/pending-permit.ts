/** A request for a permit: it waits for its turn, if requests queue, then for whichever permit is released first. */
import type { Grant } from '../../core/backend.js';
import { GRANTED } from '../../native/addon.js';
import { clearImmediate, setImmediate } from '../../timers.js';
import type { ProcessOrder } from '../order/process-order.js';
import { KERNEL_TURN, type Turn } from '../order/turn.js';
import { PendingRequest, type WaitOutcome } from './pending-request.js';
import { Permit, type Permits } from './permits.js';

/** A wait has a thread for each permit; of a semaphore with more permits it polls. */
const MOST_THREADS = 64;

export class PendingPermit extends PendingRequest {
  /** Its turn has come: it competes for the permits, and only with processes that do not queue. */
  #isFirst: boolean;

  constructor(
    private readonly permits: Permits,
    order: ProcessOrder,
    turn: Turn,
    /** Without a ticket. */
    private readonly tryInOrder: () => Grant | null,
  ) {
    super(order, turn);
    this.#isFirst = turn === KERNEL_TURN;
  }

  protected override tryAcquire(): Grant | null {
    if (!this.#isFirst) {
      const { sidecar } = this.turn;
      if (sidecar === undefined) return this.tryInOrder();
      if (sidecar.isFirst() !== GRANTED) return null;
    }
    return this.#acquired(this.permits.try());
  }

  protected override park(): boolean {
    if (this.#isFirst && this.permits.count > MOST_THREADS) return false;
    if (this.#isFirst) this.#parkOnEach();
    else this.#parkForTurn();
    return true;
  }

  protected override unsteady(): Error {
    return this.permits.unsteady();
  }

  #acquired(permit: Permit | null): Permit | null {
    if (permit !== null) this.turn.pass();
    return permit;
  }

  #parkForTurn(): void {
    this.parkOn(undefined, 'exclusive', true, (outcome) => {
      if (outcome === 'replaced') throw this.unsteady();
      if (outcome !== 'locked') throw this.permits.explained(outcome);
      this.#isFirst = true;
      return this.tryAcquire();
    });
  }

  /** One thread for each permit: the first wait that is granted wins, and the others are cancelled. */
  #parkOnEach(): void {
    let waits = 0;
    try {
      for (let permit = 0; permit < this.permits.count; permit++) if (this.#parkOnPermit(permit)) waits++;
    } catch (error) {
      this.endWaits();
      throw error;
    }
    if (waits > 0) return;
    // The file was replaced during each of the opens.
    const again = setImmediate(() => this.goOn(() => this.tryAnew()));
    this.endWatch = () => clearImmediate(again);
  }

  /** False: the file was replaced while it was opened. */
  #parkOnPermit(permit: number): boolean {
    const file = this.permits.openFor(permit);
    if (file === undefined) return false;
    const onOutcome = (outcome: WaitOutcome): Grant | null => {
      this.endWaits();
      if (outcome === 'locked') return this.#acquired(new Permit(this.permits.file, file, permit));
      if (outcome === 'replaced') return this.tryAnew();
      throw this.permits.explained(outcome);
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

/** A request for a lock of the kernel, from its ticket to its grant. */
import type { Grant } from '../../core/backend.js';
import type { OpenFile } from '../../files/lock-file.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { LockMode } from '../../options.js';
import type { Ticket } from '../fifo/ticket-queue.js';
import type { KernelBackend } from './kernel-backend.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';
import { PendingRequest } from './pending-request.js';

export class PendingLock extends PendingRequest {
  #wait: ParkedWait | undefined;
  #endWatch: () => void = () => {};

  constructor(
    private readonly backend: KernelBackend,
    private readonly mode: LockMode,
    ticket: Ticket | undefined,
  ) {
    super(ticket);
  }

  protected override tryAcquire(): Grant | null {
    return this.backend.tryWith(this.mode, this.ticket, true);
  }

  protected override park(): boolean {
    const { backend, mode, ticket } = this;
    const sidecar = ticket?.sidecar;
    if (backend.calls.addon === undefined) return false;
    const file = backend.takeFile(mode);
    ticket?.park();
    try {
      const wait = new ParkedWait(file, sidecar, mode, (outcome) => this.step(() => this.#onOutcome(file, outcome)));
      this.#wait = wait;
      if (backend.options.followsReplacement) this.#endWatch = this.#watch(file, wait);
      return true;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  protected override unpark(): void {
    this.#endWatch();
    this.#wait?.cancel();
  }

  #onOutcome(file: OpenFile, outcome: ParkOutcome): void {
    this.#endWatch();
    this.#wait = undefined;
    if (outcome === 'granted') this.granted(this.backend.grant(file, this.mode, this.ticket));
    // Granted on a file that was removed or replaced while we waited. Now for the new one.
    else if (outcome === 'replaced' || this.backend.mustWrite(outcome, file)) this.tryThenWait();
    else throw this.backend.explained(outcome);
  }

  /** Goes on with the new file as soon as the one that is waited for is replaced. */
  #watch(file: OpenFile, wait: ParkedWait): () => void {
    const moveOver = (): void => {
      if (!this.isParked || this.#wait !== wait || !wait.cancel()) return;
      this.#wait = undefined;
      this.ticket?.moved();
      this.step(() => this.tryThenWait());
    };
    const { path, calls } = this.backend;
    // Later, since the first look is at once, and this request is not parked yet.
    return watchForLoss(
      path,
      () => calls.isCurrent(file),
      () => queueMicrotask(moveOver),
    );
  }
}

/** A request for a lock of the kernel, from its ticket to its grant. */
import type { Grant } from '../../core/backend.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockMode } from '../../options.js';
import type { QueueAccess } from '../fifo/queue-access.js';
import type { Ticket } from '../fifo/ticket.js';
import type { KernelFiles } from './kernel-files.js';
import type { LockCalls } from './lock-calls.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';
import { PendingRequest } from './pending-request.js';

/** The lock that is waited for. */
export interface LockSource {
  readonly files: KernelFiles;
  readonly calls: LockCalls;
  /** One try; null: not yet, or another request has an earlier ticket. */
  tryWith(mode: LockMode, ticket: Ticket | undefined, isFollowedByWait: boolean): Grant | null;
  /** The open file is locked. */
  grant(file: OpenFile, mode: LockMode, ticket: Ticket | undefined): Grant;
  /** What an error of the lock is told as. */
  explained(error: unknown): unknown;
  noStableIdentity(): Error;
}

export class PendingLock extends PendingRequest {
  #wait: ParkedWait | undefined;
  #endWatch: () => void = () => {};

  constructor(
    private readonly lock: LockSource,
    private readonly mode: LockMode,
    order: QueueAccess,
    ticket: Ticket | undefined,
  ) {
    super(order, ticket);
  }

  protected override tryAcquire(): Grant | null {
    return this.lock.tryWith(this.mode, this.ticket, true);
  }

  protected override park(): boolean {
    const { lock, mode, ticket } = this;
    const sidecar = ticket?.sidecar;
    if (lock.calls.addon === undefined) return false;
    const file = lock.files.take(mode);
    try {
      const wait = new ParkedWait(file, sidecar, mode, (outcome) => this.step(() => this.#onOutcome(file, outcome)));
      this.#wait = wait;
      ticket?.park(wait.wait);
      if (lock.files.options.followsReplacement) this.#endWatch = this.#watch(file, wait);
      return true;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  protected override unsteady(): Error {
    return this.lock.noStableIdentity();
  }

  protected override unpark(): void {
    this.#endWatch();
    this.#wait?.cancel();
  }

  #onOutcome(file: OpenFile, outcome: ParkOutcome): void {
    this.#endWatch();
    this.#wait = undefined;
    if (outcome === 'granted') this.granted(this.lock.grant(file, this.mode, this.ticket));
    // Granted on a file that was removed or replaced while we waited. Now for the new one.
    else if (outcome === 'replaced' || this.lock.files.mustWrite(outcome, file)) this.tryAnew();
    else throw this.lock.explained(outcome);
  }

  /** Goes on with the new file as soon as the one that is waited for is replaced. */
  #watch(file: OpenFile, wait: ParkedWait): () => void {
    const moveOver = (): void => {
      if (!this.isParked || this.#wait !== wait) return;
      // It may have been granted before the file was replaced, and have passed its turn: then it is told so, and that
      // the lock is lost. To wait anew without a ticket would be to wait for its own successors.
      if (wait.cancelUnlessGranted()) {
        this.#wait = undefined;
        this.step(() => this.tryAnew());
      } else {
        this.ticket?.sidecar.dropTicket();
        this.step(() => this.#onOutcome(file, 'granted'));
      }
    };
    const { files, calls } = this.lock;
    // Later, since the first look is at once, and this request is not parked yet.
    return watchForLoss(
      files.path,
      () => calls.isCurrent(file),
      () => queueMicrotask(moveOver),
    );
  }
}

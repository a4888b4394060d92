/** A request for a lock of the kernel, from its ticket to its grant. */
import type { Grant } from '../../core/backend.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import type { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import type { Turn } from '../order/turn.js';
import { KernelGrant } from './kernel-grant.js';
import type { KernelLock } from './kernel-lock.js';
import { PendingRequest, type WaitOutcome } from './pending-request.js';

export class PendingLock extends PendingRequest {
  constructor(
    private readonly lock: KernelLock,
    private readonly mode: LockMode,
    turn: Turn,
  ) {
    super(lock.order, turn);
  }

  protected override tryAcquire(): Grant | null {
    const file = this.lock.try(this.mode, this.turn, true);
    return file && this.#acquired(file);
  }

  protected override park(): boolean {
    const { lock, mode } = this;
    if (lock.mechanism.addon === undefined) return false;
    const file = lock.files.take(mode);
    try {
      const wait = this.parkOn(file, mode, true, (outcome) => this.#onOutcome(file, outcome));
      if (lock.options.followsReplacement) this.endWatch = this.#watch(file, wait);
      return true;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  protected override unsteady(): Error {
    return this.lock.unsteady();
  }

  #acquired(file: OpenFile): Grant {
    this.turn.served();
    return new KernelGrant(this.lock, file, this.mode);
  }

  #onOutcome(file: OpenFile, outcome: WaitOutcome): Grant | null {
    this.endWatch();
    if (outcome === 'locked') return this.#acquired(file);
    // Granted on a file that was removed or replaced while we waited. Now for the new one.
    if (outcome === 'replaced' || this.lock.files.mustWrite(outcome, file)) return this.tryAnew();
    throw this.lock.explained(outcome);
  }

  /**
   * Goes on with the new file as soon as the one that is waited for is replaced.
   *
   * Grant against replacement: 1. The thread locks the old file, and drops the ticket with it. 2. Another process puts
   * a new file at the path. 3. JavaScript is told of the replacement before it is told of the grant. To wait anew now,
   * without the ticket, would be to wait for its own successors. So the wait is cancelled, which tells whether it had
   * been granted; then the request is a holder, whose lock is lost.
   */
  #watch(file: OpenFile, wait: NativeWait): () => void {
    const moveOver = (): void => {
      if (!this.isParkedOn(wait)) return;
      this.goOn(() => {
        if (this.endUnlessLocked(wait)) return this.tryAnew();
        this.turn.sidecar?.dropTicket();
        return this.#onOutcome(file, 'locked');
      });
    };
    // Later, since the first look is at once, and this request is not parked yet.
    return watchForLoss(
      this.lock.path,
      () => file.lock.isCurrent(),
      () => queueMicrotask(moveOver),
    );
  }
}

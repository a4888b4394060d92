/** A request for a lock of the kernel, from its ticket to its grant. */
import type { Grant } from '../../core/backend.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import type { OpenFile } from '../../files/open-file.js';
import type { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import type { Turn } from '../order/turn.js';
import type { KernelFiles } from './kernel-files.js';
import type { LockCalls } from './lock-calls.js';
import { PendingRequest, type WaitOutcome } from './pending-request.js';

/** The lock that is waited for. */
export interface LockSource {
  readonly files: KernelFiles;
  readonly calls: LockCalls;
  /** One try; null: not yet, or another request has an earlier ticket. */
  tryWith(mode: LockMode, turn: Turn, isFollowedByWait: boolean): Grant | null;
  /** The open file is locked. */
  grant(file: OpenFile, mode: LockMode, turn: Turn): Grant;
  /** What an error of the lock is told as. */
  explained(error: unknown): unknown;
  noStableIdentity(): Error;
}

export class PendingLock extends PendingRequest {
  constructor(
    private readonly lock: LockSource,
    private readonly mode: LockMode,
    order: ProcessOrder,
    turn: Turn,
  ) {
    super(order, turn);
  }

  protected override tryAcquire(): Grant | null {
    return this.lock.tryWith(this.mode, this.turn, true);
  }

  protected override park(): boolean {
    const { lock, mode } = this;
    if (lock.calls.addon === undefined) return false;
    const file = lock.files.take(mode);
    try {
      const wait = this.parkOn(file, mode, true, (outcome) => this.#onOutcome(file, outcome));
      if (lock.files.options.followsReplacement) this.endWatch = this.#watch(file, wait);
      return true;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  protected override unsteady(): Error {
    return this.lock.noStableIdentity();
  }

  #onOutcome(file: OpenFile, outcome: WaitOutcome): void {
    this.endWatch();
    if (outcome === 'granted') this.granted(this.lock.grant(file, this.mode, this.turn));
    // Granted on a file that was removed or replaced while we waited. Now for the new one.
    else if (outcome === 'replaced' || this.lock.files.mustWrite(outcome, file)) this.tryAnew();
    else throw this.lock.explained(outcome);
  }

  /** Goes on with the new file as soon as the one that is waited for is replaced. */
  #watch(file: OpenFile, wait: NativeWait): () => void {
    const moveOver = (): void => {
      if (!this.isParkedOn(wait)) return;
      // It may have been granted before the file was replaced, and have passed its turn: then it is told so, and that
      // the lock is lost. To wait anew without a ticket would be to wait for its own successors.
      if (this.endUnlessGranted(wait)) this.step(() => this.tryAnew());
      else {
        this.turn.sidecar?.dropTicket();
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

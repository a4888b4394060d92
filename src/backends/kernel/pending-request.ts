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
import { codeOf, systemError } from '../../errors.js';
import { MAX_REPLACED } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { FOR_LOCK, GRANTED, REPLACED } from '../../native/addon.js';
import type { NativeFile } from '../../native/native-file.js';
import { hasStuckWaits, NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import type { ProcessOrder } from '../order/process-order.js';
import { KERNEL_TURN, type Turn } from '../order/turn.js';
import { poll } from '../poll.js';

/** What a wait came to. Only if it has locked its file is that still open. */
export type WaitOutcome = 'locked' | 'replaced' | Error;

export abstract class PendingRequest implements PendingAcquire {
  #state: 'new' | 'ticketing' | 'parked' | 'polling' | 'done' = 'new';
  #done: Done = () => {};
  #endPoll: () => void = () => {};
  #replaced = 0;
  /** Of threads, with the file that is waited for; none for the turn alone. This request is their only owner. */
  readonly #waits = new Map<NativeWait, OpenFile | undefined>();
  /** The one of them that uses the ticket's sidecar. */
  #waitForTurn: NativeWait | undefined;
  /** Ends what goes on beside the waits. */
  protected endWatch: () => void = () => {};

  constructor(
    private readonly order: ProcessOrder,
    /** Its place in the order between processes. */
    protected turn: Turn,
  ) {}

  start(done: Done, justTried: boolean): void {
    this.#done = done;
    if (!this.turn.isPending) return this.goOn(() => (justTried && !this.turn.isFirst ? null : this.tryAcquire()));
    this.#state = 'ticketing';
    this.turn.whenReady(() => {
      const { failure } = this.turn;
      if (failure !== undefined && this.order.doWithout(failure)) this.#leaveQueue();
      this.goOn(() => this.tryAcquire());
    });
  }

  cancel(): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    this.#endPoll();
    // The ticket first: waiters behind need not wait until the thread has noticed.
    const sidecar = this.turn.drop(this.#waitForTurn !== undefined);
    this.endWaits(() => sidecar?.close());
  }

  /** One try; null: not yet. */
  protected abstract tryAcquire(): Grant | null;
  /** Waits in the kernel. False: there is no way to. @throws EAGAIN there is no thread to wait on */
  protected abstract park(): boolean;
  /** The error where the file is another one each time. */
  protected abstract unsteady(): Error;

  protected isParkedOn(wait: NativeWait): boolean {
    return this.#state === 'parked' && this.#waits.has(wait);
  }

  /** Acquires or, where `acquire` answers null, waits. What that throws ends the request. */
  protected goOn(acquire: () => Grant | null): void {
    try {
      const grant = acquire();
      if (grant !== null) this.#end(undefined, grant);
      else if (this.#parks()) this.#state = 'parked';
      else this.#poll();
    } catch (error) {
      if (this.#state === 'done') throw error;
      this.#end(error);
    }
  }

  /** Another try, since the file was replaced while it was waited for. @throws time and again */
  protected tryAnew(): Grant | null {
    if (++this.#replaced >= MAX_REPLACED) throw this.unsteady();
    // A link was pointed elsewhere: the ticket is one of the queue of the old place, where others wait for it.
    if (this.turn !== KERNEL_TURN && this.order.hasMoved()) this.#leaveQueue();
    return this.tryAcquire();
  }

  /**
   * Waits on a thread: for the turn, where `forTurn`, then for the lock of the file, if one is given. `onOutcome` acquires,
   * or answers null to wait again.
   * @throws EAGAIN there is no thread to wait on; then the file is still the caller's
   */
  protected parkOn(
    file: OpenFile | undefined,
    mode: LockMode,
    forTurn: boolean,
    onOutcome: (outcome: WaitOutcome) => Grant | null,
  ): NativeWait {
    const sidecar = forTurn ? this.turn.sidecar : undefined;
    const wait = new NativeWait({ file: file?.nativeFile, sidecar }, mode, FOR_LOCK, (status) => {
      this.#forget(wait);
      if (status !== GRANTED) file?.unlockAndClose();
      const { syscall, path } = (file?.nativeFile ?? sidecar) as NativeFile;
      const outcome = status < 0 ? systemError(-status, syscall, path) : status === REPLACED ? 'replaced' : 'locked';
      this.goOn(() => onOutcome(outcome));
    });
    this.#waits.set(wait, file);
    if (sidecar !== undefined) {
      this.#waitForTurn = wait;
      this.turn.parked();
    }
    return wait;
  }

  /** No outcome is told after this. A lock that is granted all the same is released. */
  protected endWaits(closeSidecar: () => void = () => {}): void {
    this.endWatch();
    for (const [wait, file] of this.#waits) {
      const isForTurn = wait === this.#waitForTurn;
      this.#forget(wait);
      wait.cancel(() => {
        file?.unlockAndClose();
        if (isForTurn) closeSidecar();
      });
    }
  }

  /** No outcome is told after this. False: it had locked its file just before, and that is the caller's. */
  protected endUnlessLocked(wait: NativeWait): boolean {
    const file = this.#waits.get(wait);
    let isLocked = false;
    this.#forget(wait);
    wait.cancel((wasGranted) => {
      isLocked = wasGranted;
      if (!wasGranted) file?.unlockAndClose();
    });
    return !isLocked;
  }

  #forget(wait: NativeWait): void {
    this.#waits.delete(wait);
    if (this.#waitForTurn === wait) this.#waitForTurn = undefined;
  }

  #leaveQueue(): void {
    this.turn.drop(false);
    this.turn = KERNEL_TURN;
  }

  #parks(): boolean {
    try {
      // Where earlier waits could not be interrupted, each new one might add a thread that stays: so it polls.
      return !hasStuckWaits() && this.park();
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error;
      return false;
    }
  }

  #poll(): void {
    this.#state = 'polling';
    this.#endPoll = poll(
      () => this.tryAcquire(),
      (error, grant) => this.#end(error, grant),
    );
  }

  #end(error: unknown, grant?: Grant): void {
    this.#state = 'done';
    if (grant === undefined) this.turn.drop(false);
    this.#done(error, grant);
  }
}

/** A request's place in the queue of all processes: a byte lock on the sidecar, from when it is taken until it is dropped. */
import { codeOf, LockMismatchError, systemError } from '../../errors.js';
import { MAX_REPLACED } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, FIRST, GRANTED, REPLACED } from '../../native/addon.js';
import type { NativeFile } from '../../native/native-file.js';
import { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import { builtins } from '../../require.js';
import { clearTimeout, setTimeout } from '../../timers.js';
import type { TicketQueue } from './ticket-queue.js';

/**
 * Where there is no thread to wait on, a ticket that another process was taking is tried for again after so many ms.
 */
const TAKE_AGAIN_MS = 1;

/** One request's place in the queue of all processes. */
export class Ticket {
  #state: 'waiting' | 'taking' | 'taken' | 'failed' | 'dropped' = 'waiting';
  /** Open as long as the ticket is taken: it carries the lock that is the ticket. */
  #sidecar: OpenFile | undefined;
  #failure: Error | undefined;
  /** Uses the sidecar: a thread that takes the ticket, or that waits with it. */
  #wait: Pick<NativeWait, 'cancel'> | undefined;
  #onReady: (() => void) | undefined;
  #isFirst = false;
  #isParked = false;
  /** Lets the next request take its ticket. */
  #passOn: () => void = () => {};

  constructor(
    private readonly queue: TicketQueue,
    private readonly mode: LockMode,
    private readonly onTaken: (() => void) | undefined,
  ) {}

  /** Why there is no ticket. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Neither taken yet nor failed: see `whenReady`. */
  get isPending(): boolean {
    return this.#state === 'waiting' || this.#state === 'taking';
  }

  /** No other process had a ticket when it was taken, so none is before it. */
  get isFirst(): boolean {
    return this.#isFirst;
  }

  /** The open sidecar that carries the ticket. @throws the reason if there is none */
  get sidecar(): NativeFile {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sidecar === undefined) throw new Error('unreachable: the ticket is not taken');
    return this.#sidecar.nativeFile;
  }

  /** Calls back, later, when it is not pending any more. */
  whenReady(callback: () => void): void {
    this.#onReady = callback;
  }

  /** @internal @param passOn called when the next request may take its ticket */
  take(passOn: () => void): void {
    this.#state = 'taking';
    this.#passOn = passOn;
    try {
      this.#tryTake();
    } catch (error) {
      this.#finish('failed', error as Error);
    }
  }

  /** The lock is held; the ticket was dropped with the grant. */
  granted(): void {
    if (this.#sidecar !== undefined) this.queue.putBack(this.#sidecar);
    this.queue.isCrowded = this.#isParked;
    this.#end();
  }

  /** The same where the grant did not drop the ticket. */
  passTurn(): void {
    this.#sidecar?.nativeFile.dropTicket();
    this.granted();
  }

  /** A thread waits with it. */
  park(wait: NativeWait): void {
    this.#wait = wait;
    this.#isParked = true;
  }

  /** Drops it at once: waiters behind need not wait until a thread that waits with it has noticed. */
  cancel(): void {
    if (this.#state === 'dropped') return;
    const sidecar = this.#sidecar;
    if (sidecar === undefined) this.#wait?.cancel();
    else {
      sidecar.nativeFile.dropTicket();
      // Closed, since the thread may have locked more meanwhile.
      if (this.#wait !== undefined) this.#wait.cancel(() => sidecar.close());
      else this.queue.putBack(sidecar);
    }
    this.#end();
  }

  #tryTake(): void {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const sidecar = this.queue.open();
      this.#sidecar = sidecar;
      const { addon, handle } = sidecar.nativeFile;
      const status = addon.takeTicket(handle, this.mode === 'shared');
      this.#isFirst = status === FIRST;
      if (status === GRANTED || status === FIRST) return this.#finish('taken');
      if (status === CONTENDED) return this.#takeOnThread(sidecar);
      this.#closeSidecar();
      if (status !== REPLACED) throw this.#takeError(-status);
    }
    throw this.queue.unsteady();
  }

  /** Another process is taking a ticket at this moment: waits for that on a thread. */
  #takeOnThread(sidecar: OpenFile): void {
    const again = (): void => {
      this.#closeSidecar();
      this.take(this.#passOn);
    };
    const onEnd = (status: number): void => {
      this.#wait = undefined;
      if (status === GRANTED) return this.#finish('taken');
      if (status === REPLACED) return again();
      this.#closeSidecar();
      this.#finish('failed', this.#takeError(-status));
    };
    try {
      this.#wait = NativeWait.forTicket(sidecar.nativeFile, this.mode, onEnd);
    } catch (error) {
      // No thread to wait on: the other process takes some microseconds, so a later try will do.
      if (codeOf(error) !== 'EAGAIN') throw error;
      const timer = setTimeout(again, TAKE_AGAIN_MS);
      const cancel = (whenUnused = (): void => {}): void => {
        clearTimeout(timer);
        whenUnused();
      };
      this.#wait = { cancel };
    }
  }

  #takeError(errno: number): Error {
    const { sidecar } = this.queue;
    if (errno !== builtins.errno.EBUSY) return systemError(errno, 'fcntl', sidecar);
    const why =
      'another process, which does not take part in the queue, has locked it to its end and ' + 'leaves no ticket';
    return new LockMismatchError(sidecar, why);
  }

  #closeSidecar(): void {
    this.#sidecar?.close();
    this.#sidecar = undefined;
  }

  #finish(state: 'taken' | 'failed', failure?: Error): void {
    this.#state = state;
    this.#failure = failure;
    if (state === 'taken') this.onTaken?.();
    this.#passOn();
    this.#onReady?.();
  }

  #end(): void {
    const wasTaken = this.#state !== 'waiting';
    const wasTaking = this.#state === 'taking';
    this.#state = 'dropped';
    this.#sidecar = undefined;
    this.#onReady = undefined;
    if (wasTaking) this.#passOn();
    this.queue.dropped(this, wasTaken);
  }
}

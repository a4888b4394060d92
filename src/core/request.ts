/** One call of `acquire` that could not be served at once. */
import { abortReason, onAbort } from '../abort.js';
import type { Ticket } from '../backends/fifo/ticket-queue.js';
import type { AcquireOptions, WaitInfo } from '../options.js';
import type { Grant, Granted, Mechanism } from './backend.js';
import { after, type Clock } from './clock.js';
import { type FifoQueue, Waiter } from './fifo-queue.js';

export interface RequestContext {
  readonly path: string | undefined;
  readonly queue: FifoQueue;
  readonly mechanism: Mechanism;
  readonly clock: Clock;
  /** Later, where other processes are to be looked at. */
  describeWait(request: Request, since: number): WaitInfo | Promise<WaitInfo>;
  /** The error of a timeout, which names the holders: later, where other processes are to be looked at. */
  timeoutError(timeout: number, waitsForItself: boolean): Error | Promise<Error>;
}

/**
 * Grant against cancel: both are decided here, on one thread, and `#settle` lets the first of them win. A request
 * that is cancelled first withdraws from the mechanism (which undoes a grant that comes too late); one that was
 * granted first cannot be cancelled any more: whoever awaits it gets the handle.
 */
export class Request extends Waiter {
  readonly #context: RequestContext;
  readonly #onGrant: (grant: Grant) => void;
  readonly #onFail: (error: unknown) => void;
  #withdraw: (() => void) | undefined;
  #ticket: Ticket | undefined;
  #cleanUps: (() => void)[] | undefined;
  #settled = false;
  #entering = false;

  constructor(
    context: RequestContext,
    readonly shared: boolean,
    /** The context that asks is the one that holds. */
    readonly waitsForItself: boolean,
    onGrant: (grant: Grant) => void,
    onFail: (error: unknown) => void,
  ) {
    super();
    this.#context = context;
    this.#onGrant = onGrant;
    this.#onFail = onFail;
  }

  start(options: AcquireOptions): void {
    const { timeout, signal, onWait } = options;
    const { clock, queue } = this.#context;
    if (timeout !== undefined && timeout !== Infinity) {
      this.#onSettle(after(clock, timeout, () => this.#timeOut(timeout)));
    }
    if (signal !== undefined) this.#onSettle(onAbort(signal, () => this.fail(abortReason(signal))));
    const notice = options.waitNotice ?? 1000;
    if (onWait !== undefined && notice !== Infinity) {
      const since = clock.now();
      this.#onSettle(after(clock, notice, () => this.#notify(onWait, since)));
    }
    // The ticket is that of the moment of asking, not that of the turn among our own.
    this.#ticket = this.#context.mechanism.join?.(this.shared);
    this.#entering = true;
    queue.enter(this);
    this.#entering = false;
  }

  override onTurn(): void {
    const { mechanism } = this.#context;
    try {
      // A turn that comes at once comes to who has just tried in vain.
      const grant = this.#entering ? null : mechanism.tryLock(this.shared, this.#ticket);
      if (grant !== null) return this.#grant(grant);
      const onEnd: Granted = (error, granted) => {
        this.#withdraw = undefined;
        if (granted === undefined) this.fail(error);
        else this.#grant(granted);
      };
      this.#withdraw = mechanism.wait(this.shared, onEnd, this.#ticket);
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    if (this.#leave()) this.#onFail(error);
  }

  /** The place is given up at once; the caller hears of it when the holders are known. */
  #timeOut(timeout: number): void {
    if (!this.#leave()) return;
    const error = this.#context.timeoutError(timeout, this.waitsForItself);
    if (isPromise(error)) error.then(this.#onFail, this.#onFail);
    else this.#onFail(error);
  }

  /** False: it is settled already. */
  #leave(): boolean {
    if (this.#settled) return false;
    this.#settle();
    // Cancel the kernel wait before leaving the local queue, or the next waiter queues behind our own wait.
    this.#withdraw?.();
    this.#ticket?.leave();
    this.#context.queue.leave(this);
    return true;
  }

  #grant(grant: Grant): void {
    this.#settle();
    // The promise is resolved before the queue admits the next reader, so that handles come in order of arrival.
    this.#onGrant(grant);
    this.#context.queue.granted(this);
  }

  #notify(onWait: (info: WaitInfo) => void, since: number): void {
    const tell = (info: WaitInfo): void => {
      if (this.#settled) return;
      try {
        onWait(info);
      } catch (error) {
        this.fail(error);
      }
    };
    const info = this.#context.describeWait(this, since);
    if (isPromise(info)) info.then(tell, (error) => this.fail(error));
    else tell(info);
  }

  #settle(): void {
    this.#settled = true;
    for (const cleanUp of this.#cleanUps ?? []) cleanUp();
    this.#cleanUps = undefined;
  }

  #onSettle(cleanUp: () => void): void {
    this.#cleanUps = this.#cleanUps ?? [];
    this.#cleanUps.push(cleanUp);
  }
}

function isPromise<T extends object>(value: T | Promise<T>): value is Promise<T> {
  return 'then' in value;
}

/** One call of `acquire` that could not be served at once. */
import { AsyncResource } from 'node:async_hooks';
import { abortReason, onAbort } from '../abort.js';
import type { AcquireOptions, LockMode, WaitInfo } from '../options.js';
import type { Backend, Grant, PendingAcquire } from './backend.js';
import { after, type Clock } from './clock.js';
import * as events from './events.js';
import { type FifoQueue, Waiter } from './fifo-queue.js';
import type { LockStatus } from './lock-status.js';
import { endStrandingWatch, watchForStranding } from './stranded.js';

/** The parts of the lock that is asked for. */
export interface LockParts {
  readonly path: string | undefined;
  readonly queue: FifoQueue;
  readonly backend: Backend;
  readonly clock: Clock;
  readonly status: LockStatus;
}

/**
 * Grant against cancel: both are decided here, on one thread, and the first of them settles the request.
 *     1. The kernel grants the lock, to a thread. 2. Before JavaScript is told, the request is cancelled, and with it its
 *     wait. 3. The wait undoes the grant; the message of it finds no request.
 *     1. JavaScript is told of the grant. 2. A cancellation finds the request settled: its caller gets the handle.
 */
export class Request extends Waiter {
  readonly #id = events.nextRequest();
  #pending: PendingAcquire | undefined;
  #cleanUps: (() => void)[] = [];
  #isSettled = false;
  /**
   * Of the code that asked, where other code is called back: a grant comes in the context of the code that releases, an
   * abort in that of the abort.
   */
  #context: AsyncResource | undefined;

  constructor(
    private readonly lock: LockParts,
    readonly mode: LockMode,
    /** The async context that asks is the one that holds. */
    private readonly waitsForItself: boolean,
    private readonly onGrant: (grant: Grant, request: number) => void,
    private readonly onFail: (error: unknown) => void,
  ) {
    super();
  }

  start({ timeout, signal, onWait, waitNotice = 1000 }: AcquireOptions): void {
    const { clock, queue, backend } = this.lock;
    if (timeout !== undefined && timeout !== Infinity)
      this.#untilSettled(after(clock, timeout, () => this.#timeOut(timeout)));
    if (signal !== undefined) this.#untilSettled(onAbort(signal, () => this.fail(abortReason(signal))));
    if (onWait !== undefined && waitNotice !== Infinity) {
      const since = clock.now();
      this.#untilSettled(after(clock, waitNotice, () => this.#notify(onWait, since)));
    }
    watchForStranding(this.lock.path);
    if (onWait !== undefined || isObserved()) this.#context = new AsyncResource('FairlockRequest');
    this.#publish(events.requested);
    const onQueued = events.queued.hasSubscribers ? () => this.#publish(events.queued) : undefined;
    try {
      // The place between processes is that of the moment of asking, not that of the turn in this thread.
      this.#pending = backend.request(this.mode, onQueued);
    } catch (error) {
      return this.fail(error);
    }
    if (queue.enter(this)) this.#compete(true);
  }

  override onHead(): void {
    this.#compete(false);
  }

  fail(error: unknown): void {
    this.#inContext(() => {
      if (this.#leave(error)) this.onFail(error);
    });
  }

  /** @param justTried it is the head from the beginning: tryAcquire() failed just now, so the first try is skipped */
  #compete(justTried: boolean): void {
    this.#pending?.start((error, grant) => {
      if (grant === undefined) this.fail(error);
      else this.#grant(grant);
    }, justTried);
  }

  /** The place is given up at once; the caller learns of it when the holders are known. */
  #timeOut(timeout: number): void {
    if (!this.#inContext(() => this.#leave(undefined))) return;
    const error = this.lock.status.timeoutError(timeout, this.waitsForItself, this.#pending?.trouble);
    if (isPromise(error)) error.then(this.onFail, this.onFail);
    else this.onFail(error);
  }

  /** False: it is settled already. */
  #leave(reason: unknown): boolean {
    if (this.#isSettled) return false;
    this.#settle();
    // Cancel the kernel wait before leaving the local queue, or the next waiter queues behind our own wait.
    this.#pending?.cancel();
    this.lock.queue.leave(this);
    this.#publish(events.cancelled, { reason });
    return true;
  }

  #grant(grant: Grant): void {
    this.#settle();
    // The promise is resolved before the queue admits the next reader, so that handles come in order of arrival.
    this.#inContext(() => this.onGrant(grant, this.#id));
    this.lock.queue.acquired(this);
  }

  #notify(onWait: (info: WaitInfo) => void, since: number): void {
    const tell = (info: WaitInfo): void => {
      if (this.#isSettled) return;
      const cause = this.#pending?.trouble;
      if (cause !== undefined) info.cause = cause;
      try {
        this.#inContext(() => onWait(info));
      } catch (error) {
        this.fail(error);
      }
    };
    const info = this.lock.status.waitInfo(this, since, this.waitsForItself);
    if (isPromise(info)) info.then(tell, (error) => this.fail(error));
    else tell(info);
  }

  #inContext<T>(settle: () => T): T {
    return this.#context === undefined ? settle() : this.#context.runInAsyncScope(settle);
  }

  #settle(): void {
    this.#isSettled = true;
    endStrandingWatch();
    for (const cleanUp of this.#cleanUps.splice(0)) cleanUp();
  }

  #untilSettled(cleanUp: () => void): void {
    this.#cleanUps.push(cleanUp);
  }

  #publish(channel: typeof events.requested, more: object = {}): void {
    if (!channel.hasSubscribers) return;
    channel.publish({ ...events.lockEvent(this.lock, this.mode), request: this.#id, ...more });
  }
}

function isObserved(): boolean {
  return events.cancelled.hasSubscribers || events.granted.hasSubscribers;
}

function isPromise<T extends object>(value: T | Promise<T>): value is Promise<T> {
  return 'then' in value;
}

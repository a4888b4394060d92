/** The proof of holding a lock, and the way to release it. */

import type { InspectOptions, inspect } from 'node:util';
import { LockLostError, LockUnsupportedError } from '../errors.js';
import type { Hold } from './hold.js';
import { INSPECT, inspectAs } from './inspected.js';
import { endLeakWatch, watchForLeak } from './leak-detector.js';

export interface LockHandle extends Disposable, AsyncDisposable {
  /** Whether `release` was called. */
  readonly released: boolean;
  readonly shared: boolean;
  /**
   * Aborted with `LockLostError` if the lock is lost while it is held: its file was removed or replaced by a process
   * that does not take the lock, or the heartbeat of a lockfile was missed. Watched from the first access until
   * release.
   */
  readonly signal: AbortSignal;
  /**
   * Looks, at once, whether the lock is held still: before something that must not happen twice, where the event loop
   * may not have run for a while, so that `signal` does not tell yet. Of a lock file one or two system calls; of a lock
   * between machines a look at the clock, and no network.
   * @throws {LockLostError} it is lost, or was released
   */
  check(): void;
  /**
   * The descriptor that holds the lock, while it is held. A child process that inherits it by `stdio` shares the lock,
   * until the child ends or this handle is released.
   */
  readonly fd: number | undefined;
  /**
   * Releases the lock. Bound, idempotent, never throws. The next waiter of this thread has begun to compete by then;
   * its promise is resolved before this returns if the lock is free for it.
   */
  readonly release: () => void;
}

/** A handle whose lock a child process can take over. */
export interface ProcessLockHandle extends LockHandle {
  /**
   * Leaves the lock to the processes that have inherited `fd`: this handle counts as released, and the lock stays held
   * until the last of them has closed it, or has released it after `adopt`. Where none has, the lock is free.
   * @throws {LockUnsupportedError} a lock folder, which no process inherits; or an async context holds it several times
   */
  detach(): void;
}

/** A permit of a semaphore, while it is held. */
export interface PermitHandle extends LockHandle {
  /** Which one, 0 to `permits` - 1: no two holders have the same number at the same time. */
  readonly permit: number;
}

/** Code that keeps only the signal keeps the handle. */
const handleOfSignal = new WeakMap<AbortSignal, Handle>();

/** It has no fields that others see: to copy one (`structuredClone`, a logger) copies nothing. */
export class Handle implements ProcessLockHandle {
  readonly #hold: Hold;
  readonly #release: () => void;
  #leakWatched = false;
  #released = false;
  #controller: AbortController | undefined;
  #endWatch: (() => void) | undefined;

  constructor(hold: Hold) {
    this.#hold = hold;
    hold.taken();
    this.#release = () => {
      if (this.#end()) hold.returned();
    };
    watchForLeak(this);
  }

  /** @internal */
  get hold(): Hold {
    return this.#hold;
  }

  /** @internal */
  get leakWatched(): boolean {
    return this.#leakWatched;
  }

  /** @internal */
  set leakWatched(watched: boolean) {
    this.#leakWatched = watched;
  }

  get release(): () => void {
    return this.#release;
  }

  /** Each permit has one holder, though the semaphore has several. */
  get shared(): boolean {
    return this.#hold.mode === 'shared' && this.#hold.grant.permit === undefined;
  }

  get released(): boolean {
    return this.#released;
  }

  check(): void {
    if (this.#released) throw new LockLostError(this.#hold.path, 'it was released');
    this.#hold.grant.check();
  }

  detach(): void {
    const hold = this.#hold;
    if (this.#released) return;
    if (hold.grant.detach === undefined || hold.handles > 1) {
      const why =
        hold.handles > 1 ? 'its context has acquired it several times' : 'no process inherits this kind of lock';
      throw new LockUnsupportedError(hold.path, `cannot be left to another process: ${why}`);
    }
    this.#end();
    hold.detached();
  }

  /** False: it has ended already. */
  #end(): boolean {
    if (this.#released) return false;
    this.#released = true;
    endLeakWatch(this);
    this.#endWatch?.();
    return true;
  }

  /** Of a semaphore's handle. */
  get permit(): number | undefined {
    return this.#hold.grant.permit;
  }

  get fd(): number | undefined {
    return this.#released ? undefined : this.#hold.grant.fd;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      handleOfSignal.set(controller.signal, this);
      if (!this.#released) {
        this.#endWatch = this.#hold.grant.watch((error) => {
          controller.abort(error);
          this.#hold.lost(error);
        });
      }
    }
    return this.#controller.signal;
  }

  toJSON(): object {
    const { path } = this.#hold;
    const { shared, released, permit } = this;
    return { ...(path !== undefined && { path }), shared, ...(permit !== undefined && { permit }), released };
  }

  [INSPECT](_depth: number, options: InspectOptions, util?: typeof inspect): string {
    return inspectAs(this.toJSON(), 'LockHandle', options, util);
  }

  /** By its own name: the handle may be wrapped in a Proxy, which has no private fields. */
  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

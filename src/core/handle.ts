/** The proof of holding a lock, and the way to release it. */

import { setTimeout, unref } from '../timers.js';
import type { Grant } from './backend.js';

export interface LockHandle extends Disposable, AsyncDisposable {
  /** Whether `release` was called. */
  readonly released: boolean;
  readonly shared: boolean;
  /**
   * Aborted with `LockLostError` if the lock is lost while it is held: its file removed or replaced by somebody who
   * does not ask, the heartbeat of a lockfile missed. Watched from the first access until release.
   */
  readonly signal: AbortSignal;
  /**
   * The descriptor that holds the lock, while it is held. A child that gets it in `stdio` shares the lock, until it
   * ends or this handle is released.
   */
  readonly fd: number | undefined;
  /**
   * Releases the lock. Bound, idempotent, never throws. The next waiter of this thread has been asked for by then; its
   * promise is resolved before this returns where the lock is free for it.
   */
  readonly release: () => void;
}

/** A permit of a semaphore, while it is held. */
export interface PermitHandle extends LockHandle {
  /** Which one, 0 to `permits` - 1: no other holder has the same number at the same time. */
  readonly permit: number;
}

/** One grant of the lock, and the handles of it: several where a context acquired it again. */
export interface Hold {
  readonly grant: Grant;
  readonly shared: boolean;
  handles: number;
}

/** What a handle belongs to. */
export interface HandleOwner {
  readonly path: string | undefined;
  /** A handle is done with. */
  returned(hold: Hold): void;
}

/**
 * A handle that is lost while it holds says so once. The lock stays held: the section it protects may be running
 * still, and to unlock under it would make two holders.
 */
const lost = new FinalizationRegistry<HandleOwner>((owner) => {
  stranded.add(owner);
  const what = owner.path === undefined ? 'an in-process lock' : `the lock '${owner.path}'`;
  process.emitWarning(
    `A handle of ${what} was garbage-collected without release(). The lock stays held until the process (or Worker) ends. ` +
      "Use withLock(), 'using' or try/finally.",
    { type: 'FairlockWarning', code: 'FAIRLOCK_HANDLE_LOST' },
  );
});

/** What is held for ever: its queue must not be forgotten, or a new one would think the lock free. */
const stranded = new Set<HandleOwner>();

/**
 * To register every handle would cost as much as locking does. So handles are registered some time later, if they are
 * held still: until then they are in this list, and cannot be lost.
 */
const fresh: Handle[] = [];
const MOST_FRESH = 256;
const REGISTER_AFTER_MS = 100;
let scheduled = false;

function registerFresh(): void {
  scheduled = false;
  for (const handle of fresh.splice(0)) handle.register(lost);
}

/** Code that keeps only the signal keeps the handle. */
const handleOfSignal = new WeakMap<AbortSignal, Handle>();

export class Handle implements LockHandle {
  readonly shared: boolean;
  readonly release: () => void;
  #released = false;
  #registered = false;
  readonly #owner: HandleOwner;
  #controller: AbortController | undefined;
  #endWatch: (() => void) | undefined;
  /** @internal */ readonly hold: Hold;

  constructor(owner: HandleOwner, hold: Hold) {
    // A permit has one holder; that other holders have others is the semaphore's affair.
    this.shared = hold.shared && hold.grant.permit === undefined;
    this.hold = hold;
    this.release = () => {
      if (this.#released) return;
      this.#released = true;
      if (this.#registered) lost.unregister(this);
      else if (fresh.at(-1) === this) fresh.pop();
      this.#endWatch?.();
      owner.returned(hold);
    };
    this.#owner = owner;
    if (fresh.push(this) > MOST_FRESH) registerFresh();
    else if (!scheduled) {
      scheduled = true;
      unref(setTimeout(registerFresh, REGISTER_AFTER_MS));
    }
  }

  /** @internal From now on its loss is noticed. */
  register(registry: FinalizationRegistry<HandleOwner>): void {
    if (this.#released) return;
    this.#registered = true;
    registry.register(this, this.#owner, this);
  }

  get released(): boolean {
    return this.#released;
  }

  /** Of a semaphore's handle. */
  get permit(): number | undefined {
    return this.hold.grant.permit;
  }

  get fd(): number | undefined {
    return this.#released ? undefined : this.hold.grant.fd;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      handleOfSignal.set(controller.signal, this);
      if (!this.#released) this.#endWatch = this.hold.grant.watch((error) => controller.abort(error));
    }
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

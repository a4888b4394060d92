/** What stands behind a lock in memory: other processes, so to speak, that tests speak for. */
import type { Backend, Capabilities, Done, Grant, PendingAcquire } from '../core/backend.js';
import { FifoQueue } from '../core/fifo-queue.js';
import { LockLostError } from '../errors.js';
import type { LockMode, LockParty, Parties } from '../options.js';

/** One holder, of this process or elsewhere. */
interface Holder {
  readonly mode: LockMode;
  readonly isElsewhere: boolean;
  lose(error: Error): void;
}

interface Waiter {
  readonly mode: LockMode;
  readonly isElsewhere: boolean;
  served(holder: Holder): void;
  failed(error: unknown): void;
}

/** The lock of one name, which all objects of that name share. */
export class MemoryPlace {
  /** Of the requests of this process. */
  readonly queue = new FifoQueue();
  readonly #holders = new Set<Holder>();
  readonly #waiters = new Set<Waiter>();
  #isServing = false;

  constructor(
    readonly name: string,
    readonly permits: number | undefined,
    /** Whether requests wait in one order with those from elsewhere; else a newcomer may be served before them. */
    private readonly isStrict: boolean,
  ) {}

  get isLocked(): boolean {
    return this.permits === undefined ? this.#holders.size > 0 : this.#holders.size >= this.permits;
  }

  parties(): Parties {
    const elsewhere = ({ mode, isElsewhere }: { mode: LockMode; isElsewhere: boolean }): LockParty[] =>
      isElsewhere ? [{ pid: 0, shared: mode === 'shared', command: 'elsewhere' }] : [];
    return { holders: [...this.#holders].flatMap(elsewhere), waiters: [...this.#waiters].flatMap(elsewhere) };
  }

  /** Null where it would have to wait; with a strict order also where requests wait. */
  try(mode: LockMode, isElsewhere: boolean): Holder | null {
    if ((this.isStrict && this.#waiters.size > 0) || !this.#isFreeFor(mode)) return null;
    return this.#hold(mode, isElsewhere);
  }

  /** Returns what ends the wait. */
  wait(waiter: Waiter): () => void {
    this.#waiters.add(waiter);
    this.#serve();
    return () => {
      this.#waiters.delete(waiter);
      this.#serve();
    };
  }

  release(holder: Holder): void {
    if (!this.#holders.delete(holder)) return;
    // In the kernel's order the lock is free for a moment, in which a try may get it.
    if (this.isStrict) this.#serve();
    else queueMicrotask(() => this.#serve());
  }

  /** All holders of this process lose it. */
  lose(reason: string, cause?: unknown): void {
    for (const holder of [...this.#holders].filter(({ isElsewhere }) => !isElsewhere)) {
      this.#holders.delete(holder);
      holder.lose(new LockLostError(this.name, reason, cause));
    }
    this.#serve();
  }

  /** All requests of this process that wait end with the error. */
  fail(error: unknown): void {
    for (const waiter of [...this.#waiters].filter(({ isElsewhere }) => !isElsewhere)) {
      this.#waiters.delete(waiter);
      waiter.failed(error);
    }
  }

  /** In order, as many as may hold at once. A grant may release, or ask again, before this has returned. */
  #serve(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    for (const waiter of this.#waiters) {
      if (!this.#isFreeFor(waiter.mode)) break;
      this.#waiters.delete(waiter);
      waiter.served(this.#hold(waiter.mode, waiter.isElsewhere));
    }
    this.#isServing = false;
  }

  #hold(mode: LockMode, isElsewhere: boolean): Holder {
    const holder: Holder = { mode, isElsewhere, lose: () => {} };
    this.#holders.add(holder);
    return holder;
  }

  #isFreeFor(mode: LockMode): boolean {
    if (this.permits !== undefined) return this.#holders.size < this.permits;
    return this.#holders.size === 0 || (mode === 'shared' && [...this.#holders].every((one) => one.mode === 'shared'));
  }
}

export class MemoryBackend implements Backend {
  readonly name = 'flock';
  readonly capabilities: Capabilities;

  constructor(
    private readonly place: MemoryPlace,
    fairness: 'kernel' | 'fifo',
  ) {
    const isSemaphore = place.permits !== undefined;
    this.capabilities = { layers: { lock: 'none', wait: 'none' }, fairness, answersAtOnce: true, isSemaphore };
  }

  tryAcquire(mode: LockMode): Grant | null {
    const holder = this.place.try(mode, false);
    return holder === null ? null : new MemoryGrant(this.place, holder);
  }

  request(mode: LockMode, onQueued?: () => void): PendingAcquire {
    const { place } = this;
    // With a strict order its place is that of its request, and not of its turn in this process.
    let end = (): void => {};
    let done: Done | undefined;
    let early: { error: unknown; grant?: Grant } | undefined;
    const over = (error: unknown, grant?: Grant): void => {
      if (done === undefined) early = { error, ...(grant && { grant }) };
      else done(error, grant);
    };
    const enter = (): void => {
      end = place.wait({
        mode,
        isElsewhere: false,
        served: (holder) => {
          const grant = new MemoryGrant(place, holder);
          end = () => grant.unlock();
          over(undefined, grant);
        },
        failed: (error) => over(error),
      });
    };
    if (this.capabilities.fairness === 'fifo') {
      enter();
      onQueued?.();
    }
    return {
      start: (callback) => {
        done = callback;
        if (early !== undefined) callback(early.error, early.grant);
        else if (this.capabilities.fairness === 'kernel') enter();
      },
      cancel: () => end(),
    };
  }

  isLocked(): boolean {
    return this.place.isLocked;
  }

  inspect() {
    return { now: () => this.place.parties(), later: async () => this.place.parties() };
  }

  dispose(): void {}

  /** Other processes are this thread's own code here: to block it for them would be for ever. */
  waitSync(): null {
    return null;
  }

  overlapsHeld(): boolean {
    return true;
  }
}

class MemoryGrant implements Grant {
  readonly fd = undefined;
  #error: Error | undefined;
  readonly #listeners = new Set<(error: Error) => void>();

  constructor(
    private readonly place: MemoryPlace,
    private readonly holder: Holder,
  ) {
    holder.lose = (error) => {
      this.#error = error;
      for (const listener of [...this.#listeners]) listener(error);
    };
  }

  unlock(): void {
    this.place.release(this.holder);
  }

  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  watch(onLoss: (error: Error) => void): () => void {
    if (this.#error !== undefined) onLoss(this.#error);
    this.#listeners.add(onLoss);
    return () => this.#listeners.delete(onLoss);
  }
}

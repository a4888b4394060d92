/** A lock in memory, for tests of programs that lock: no file, no other process, and a test that speaks for both. */

import { MemoryBackend, MemoryPlace } from '../backends/memory.js';
import type { Clock } from '../core/clock.js';
import type { LockHandle, PermitHandle } from '../core/handle.js';
import { LockCore } from '../core/lock-core.js';
import { LockUnsupportedError, shown } from '../errors.js';
import type { AcquireOptions, LockMode } from '../options.js';
import { optionsObject } from '../validate.js';
import { WeakValues } from '../weak-values.js';
import type { LockInspection } from './file-lock.js';

export interface MemoryLockOptions {
  /** Objects of one name are one lock, as two locks on one path are. @default a name of its own */
  name?: string | undefined;
  /** Of a semaphore: how many may hold it. All objects of a name must say the same. @default none: a lock */
  permits?: number | undefined;
  /** The order between this process and `elsewhere`. @default 'kernel' */
  fairness?: 'kernel' | 'fifo' | 'auto' | undefined;
  /** As for `InterProcessLock`. @default false */
  reentrant?: boolean | undefined;
}

/** What another process holds. */
export interface HeldElsewhere extends Disposable {
  release(): void;
}

/** Another process, so to speak, which wants the same lock. */
export interface Elsewhere {
  /** Takes it at once. Null: it is held. */
  tryAcquire(mode?: LockMode): HeldElsewhere | null;
  /** Waits for it, as a process does. */
  acquire(mode?: LockMode): Promise<HeldElsewhere>;
}

const OPTIONS = ['name', 'permits', 'fairness', 'reentrant'];

/** Of locks without a name. */
let count = 0;

/** By the names of locks, while one of them, or what it gave out, is used. */
const places = new WeakValues<MemoryPlace>();

/** Of the moment: fake timers of a test are meant to turn the clock of this lock. */
const clock: Clock = {
  setTimeout: (callback, ms) => globalThis.setTimeout(callback, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer as NodeJS.Timeout),
  now: () => Date.now(),
};

/**
 * A double of every lock of this library, with the same contract, in memory: for tests of programs that lock, where no
 * file is wanted. It has the methods of `InterProcessLock`, of the reader/writer lock and, with `permits`, of the
 * semaphore; timeouts follow fake timers (`vi.useFakeTimers()`, `jest.useFakeTimers()`).
 *
 *     const lock = memoryLock();
 *     const theirs = await lock.elsewhere.acquire();      // contention: another process holds it
 *     const waiting = saveUnder(lock);                    // the code under test waits …
 *     theirs.release();                                   // … and goes on
 *     lock.lose();                                        // its handle.signal is aborted with LockLostError
 *     lock.failWaits(new Error('disk on fire'));          // what waits for it rejects with that
 *
 * Not there: descriptors (`handle.fd` is undefined, `adopt` and `detach` are unsupported), and locks between processes.
 */
export function memoryLock(options?: MemoryLockOptions): MemoryLock {
  return new MemoryLock(options);
}

export class MemoryLock implements Disposable {
  /** What the path of a lock file is. */
  readonly path: string;
  readonly permits: number | undefined;
  readonly elsewhere: Elsewhere;
  readonly #place: MemoryPlace;
  readonly #core: LockCore;

  /** @internal by `memoryLock` */
  constructor(options?: MemoryLockOptions) {
    const given = optionsObject<MemoryLockOptions>(options, OPTIONS);
    const { name = `memory-${++count}`, permits, fairness = 'kernel', reentrant = false } = given;
    if (typeof name !== 'string' || name === '') throw new TypeError(`name: expected a text, got ${shown(name)}`);
    if (permits !== undefined && !(Number.isInteger(permits) && permits > 0))
      throw new RangeError(`permits: expected a whole number from 1 on, got ${shown(permits)}`);
    if (!['kernel', 'fifo', 'auto'].includes(fairness))
      throw new TypeError(`fairness: expected 'kernel', 'fifo' or 'auto', got ${shown(fairness)}`);
    const order = fairness === 'kernel' ? 'kernel' : 'fifo';
    this.path = name;
    this.permits = permits;
    const place = places.get(name, () => new MemoryPlace(name, permits, order === 'fifo'));
    if (place.permits !== permits)
      throw new LockUnsupportedError(name, 'another lock of this name has another number of permits');
    this.#place = place;
    this.#core = new LockCore(name, place.queue, new MemoryBackend(place, order), clock, reentrant);
    this.elsewhere = elsewhereOf(place, permits === undefined ? 'exclusive' : 'shared');
  }

  get name(): string {
    return this.path;
  }

  /** Whether a handle of this object holds it. */
  get held(): boolean {
    return this.#core.held > 0;
  }

  /** Waits for its turn, then for the lock; of a semaphore, for a permit. */
  acquire(options?: AcquireOptions): Promise<PermitHandle> {
    return this.#core.acquire(this.#mode, options) as Promise<PermitHandle>;
  }

  /** Never waits and never overtakes. */
  tryAcquire(): PermitHandle | null {
    return this.#core.tryAcquire(this.#mode) as PermitHandle | null;
  }

  /** @throws {LockDeadlockError} it is not free: here every other holder is this thread's own code */
  acquireSync(options?: { timeout?: number | undefined }): LockHandle {
    return this.#core.acquireSync(this.#mode, options);
  }

  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with(this.#mode, fn, options);
  }

  withPermit<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with(this.#mode, fn, options);
  }

  acquireRead(options?: AcquireOptions): Promise<LockHandle> {
    return this.#core.acquire('shared', options);
  }

  acquireWrite(options?: AcquireOptions): Promise<LockHandle> {
    return this.#core.acquire('exclusive', options);
  }

  tryAcquireRead(): LockHandle | null {
    return this.#core.tryAcquire('shared');
  }

  tryAcquireWrite(): LockHandle | null {
    return this.#core.tryAcquire('exclusive');
  }

  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with('shared', fn, options);
  }

  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with('exclusive', fn, options);
  }

  /** Whether it is held, here or elsewhere; of a semaphore, whether no permit is free. */
  isLocked(): boolean {
    return this.#place.isLocked;
  }

  /** Holders elsewhere have the PID 0. */
  inspect(): LockInspection {
    const { fairness, layers } = this.#core.backend.capabilities;
    return { path: this.path, mechanism: 'flock', fairness, layers, held: this.held, ...this.#core.status.now() };
  }

  /** All that hold it here lose it: `handle.signal` is aborted with `LockLostError`, `handle.check()` throws it. */
  lose(reason = 'the test said so', cause?: unknown): void {
    this.#place.lose(reason, cause);
  }

  /** All requests here that wait for it reject with the error, as by an error of the system. */
  failWaits(error: unknown): void {
    this.#place.fail(error);
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held. */
  close(): void {
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #mode(): LockMode {
    return this.permits === undefined ? 'exclusive' : 'shared';
  }
}

function elsewhereOf(place: MemoryPlace, usual: LockMode): Elsewhere {
  const held = (holder: Parameters<MemoryPlace['release']>[0]): HeldElsewhere => {
    const release = (): void => place.release(holder);
    return { release, [Symbol.dispose]: release };
  };
  return {
    tryAcquire: (mode = usual) => {
      const holder = place.try(mode, true);
      return holder === null ? null : held(holder);
    },
    acquire: (mode = usual) =>
      new Promise((resolve, reject) => {
        place.wait({ mode, isElsewhere: true, served: (holder) => resolve(held(holder)), failed: reject });
      }),
  };
}

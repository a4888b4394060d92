/** What all locks share: a queue, a backend behind it, and the ways to ask. */
import { throwIfAborted } from '../abort.js';
import { LockClosedError, LockDeadlockError, LockUnsupportedError } from '../errors.js';
import type { AcquireOptions, LockMode } from '../options.js';
import { acquireOptions, callback, timeout as checkTimeout, optionsObject } from '../validate.js';
import {
  type AnswersAtOnce,
  answersAtOnce,
  type Backend,
  type Grant,
  isAdoptable,
  isStealable,
  isSyncWaitable,
} from './backend.js';
import { type Clock, systemClock } from './clock.js';
import * as events from './events.js';
import type { FifoQueue } from './fifo-queue.js';
import { Handle, type LockHandle } from './handle.js';
import { Hold } from './hold.js';
import { LockStatus } from './lock-status.js';
import { heldHere, runHolding, warnOfSelfWait } from './reentrancy.js';
import { type LockParts, Request } from './request.js';

const NO_UPGRADE = 'this async context holds it for reading, and a reader cannot become a writer';
const NO_DOWNGRADE = 'this async context holds it for writing, and a writer cannot become a reader';

export class LockCore implements LockParts {
  readonly status: LockStatus;
  readonly #requests = new Set<Request>();
  /** The backend, if it is one. */
  readonly #atOnce: AnswersAtOnce | undefined;
  /** Of this object, not released. */
  readonly #count = { handles: 0 };
  #closed = false;

  constructor(
    readonly path: string | undefined,
    readonly queue: FifoQueue,
    readonly backend: Backend,
    readonly clock: Clock = systemClock,
    /** Whether a context that holds the lock acquires it again without waiting. */
    readonly reentrant = false,
  ) {
    this.status = new LockStatus(path, queue, backend);
    this.#atOnce = answersAtOnce(backend) ? backend : undefined;
  }

  /** Handles of this object that are not released. */
  get held(): number {
    return this.#count.handles;
  }

  /** Whether handles of this object are not released, or requests of it wait. */
  get isBusy(): boolean {
    return this.held > 0 || this.#requests.size > 0;
  }

  acquire(mode: LockMode, options: AcquireOptions | undefined): Promise<Handle> {
    try {
      const given = acquireOptions(options);
      throwIfAborted(given.signal);
      if (given.timeout === 0) return this.#acquireOrFail(mode);
      const handle = this.#acquireAgain(mode) ?? (this.#atOnce === undefined ? null : this.#tryNow(mode, true));
      return handle === null ? this.#wait(mode, given) : Promise.resolve(handle);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Never waits and never overtakes. Of a backend that answers at once. */
  tryAcquire(mode: LockMode): Handle | null {
    return this.#acquireAgain(mode) ?? this.#tryNow(mode, false);
  }

  /** The same of any backend. */
  async tryAcquireLater(mode: LockMode): Promise<Handle | null> {
    return this.#atOnce === undefined ? (this.#acquireAgain(mode) ?? this.#tryLater(mode)) : this.tryAcquire(mode);
  }

  acquireSync(mode: LockMode, options: { timeout?: number | undefined } | undefined): Handle {
    const { timeout = Infinity } = optionsObject<{ timeout?: number }>(options, ['timeout']);
    checkTimeout(timeout);
    const { path, queue, backend } = this;
    if (!isSyncWaitable(backend)) throw new LockUnsupportedError(path, 'this kind of lock has no acquireSync');
    const handle = this.#acquireAgain(mode) ?? this.#tryNow(mode, timeout !== 0);
    if (handle !== null) return handle;
    if (!queue.isFree(mode) || backend.overlapsHeld()) {
      const what = queue.waiting > 0 && queue.holders === 0 ? 'is queued before this call' : 'holds it';
      const why = `this thread's own code ${what}, and acquireSync would block the thread that has to release it`;
      throw new LockDeadlockError(path, why);
    }
    const grant = timeout === 0 ? null : backend.waitSync(mode, timeout);
    if (grant === null) throw this.status.timeoutErrorNow(timeout);
    queue.hold(mode);
    return this.#handleOf(grant, mode, undefined);
  }

  /**
   * Takes the lock from its holder, in whatever process. Waiters go on waiting.
   * @param stolen the handles of this thread that hold it, which are released
   */
  steal(stolen: Iterable<LockHandle>): Handle {
    const { path, queue, backend } = this;
    if (!isStealable(backend)) throw new LockUnsupportedError(path, 'this kind of lock cannot be stolen');
    const grant = queue.exchange(() => {
      const fresh = backend.steal(() => {
        for (const handle of stolen) handle.release();
      });
      queue.hold('exclusive');
      return fresh;
    });
    if (events.stolen.hasSubscribers) events.stolen.publish(events.lockEvent(this, 'exclusive'));
    return this.#handleOf(grant, 'exclusive', undefined);
  }

  async with<T>(
    mode: LockMode,
    fn: (handle: LockHandle) => T | PromiseLike<T>,
    options: AcquireOptions | undefined,
    around: (acquire: () => Promise<Handle>) => Promise<Handle> = (acquire) => acquire(),
  ): Promise<T> {
    callback(fn);
    const handle = await around(() => this.acquire(mode, options));
    try {
      return await runHolding(handle.hold, () => fn(handle));
    } finally {
      handle.release();
    }
  }

  close(): void {
    this.#closed = true;
    // From the back: else each request that leaves would make the next one the head, which is to leave too.
    for (const request of [...this.#requests].reverse()) request.fail(new LockClosedError(this.path));
    this.dispose();
  }

  /** Gives back what is kept for the next request. Always true. */
  dispose(): true {
    this.backend.dispose();
    return true;
  }

  /** Takes over the lock that this process has inherited as an open descriptor. */
  adopt(fd: number): Handle {
    const { path, queue, backend } = this;
    if (this.#closed) throw new LockClosedError(path);
    if (!isAdoptable(backend)) throw new LockUnsupportedError(path, 'no process inherits this kind of lock');
    if (queue.holders > 0) throw new LockDeadlockError(path, "this thread's own code holds it already");
    // Requests of this thread may wait for it, behind the very descriptor that is adopted.
    const grant = queue.exchange(() => {
      const inherited = backend.adopt(fd);
      queue.hold('exclusive');
      return inherited;
    });
    return this.#handleOf(grant, 'exclusive', undefined);
  }

  #tryNow(mode: LockMode, isFollowedByWait: boolean): Handle | null {
    if (this.#atOnce === undefined) throw new Error('unreachable: this backend answers later');
    if (!this.queue.isFree(mode)) return null;
    const grant = this.#atOnce.tryAcquire(mode, isFollowedByWait);
    if (grant === null) return null;
    this.queue.hold(mode);
    return this.#handleOf(grant, mode, undefined);
  }

  /**
   * While the backend decides, the lock counts as held in this thread, so that requests that arrive meanwhile queue.
   */
  async #tryLater(mode: LockMode): Promise<Handle | null> {
    if (!this.queue.isFree(mode)) return null;
    this.queue.hold(mode);
    let grant: Grant | null = null;
    try {
      grant = await this.backend.tryAcquire(mode, false);
    } finally {
      if (grant === null) this.queue.released(mode);
    }
    return grant === null ? null : this.#handleOf(grant, mode, undefined);
  }

  async #acquireOrFail(mode: LockMode): Promise<Handle> {
    const waitsForItself = heldHere(this.queue) !== undefined;
    const handle = await this.tryAcquireLater(mode);
    if (handle === null) throw await this.status.timeoutError(0, waitsForItself);
    return handle;
  }

  /**
   * A context that holds the lock already. In the other mode it is refused: a reader that waits to become a writer
   * would wait for itself, and `flock` converts in two steps, with a gap in which another process is granted.
   */
  #acquireAgain(mode: LockMode): Handle | undefined {
    if (this.#closed) throw new LockClosedError(this.path);
    const hold = heldHere(this.queue);
    if (hold === undefined) return undefined;
    if (hold.mode !== mode) throw new LockDeadlockError(this.path, mode === 'shared' ? NO_DOWNGRADE : NO_UPGRADE);
    if (!this.reentrant) return undefined;
    return new Handle(hold);
  }

  #wait(mode: LockMode, options: AcquireOptions): Promise<Handle> {
    const waitsForItself = heldHere(this.queue) !== undefined;
    if (waitsForItself) warnOfSelfWait(this.path);
    return new Promise((resolve, reject) => {
      const request = new Request(
        this,
        mode,
        waitsForItself,
        (grant, id) => {
          this.#requests.delete(request);
          // Nothing that throws may come between a grant and its handle: the lock would be held for ever.
          resolve(this.#handleOf(grant, mode, id));
        },
        (error) => {
          this.#requests.delete(request);
          reject(error);
        },
      );
      this.#requests.add(request);
      request.start(options);
    });
  }

  #handleOf(grant: Grant, mode: LockMode, request: number | undefined): Handle {
    const hold = new Hold(this, grant, mode, this.#count);
    if (events.granted.hasSubscribers) events.granted.publish({ ...events.lockEvent(this, mode), request, hold });
    return new Handle(hold);
  }
}

/** What all locks share: a queue, a mechanism behind it, and the ways to ask. */
import { LockClosedError, LockDeadlockError, LockTimeoutError } from '../errors.js';
import type { Grant, Mechanism } from '../mechanism/mechanism.js';
import { type AcquireOptions, acquireOptions, callback, timeout as checkTimeout, type LockParty, optionsObject, type WaitInfo } from '../options.js';
import { type Clock, systemClock } from '../queue/clock.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { Handle, type HandleOwner, type LockHandle } from './handle.js';
import { type Parties, partiesOf } from './parties.js';
import { Request, type RequestContext } from './request.js';

/** What the kernel's list of locks calls what we take. */
const KERNEL_NAMES = { flock: ['FLOCK'], fcntl: ['OFDLCK', 'POSIX'], lockfile: [] } as const;

export class QueuedLock implements HandleOwner, RequestContext {
  readonly #requests = new Set<Request>();
  #held = 0;
  #closed = false;

  constructor(
    readonly path: string | undefined,
    readonly queue: FifoQueue,
    readonly mechanism: Mechanism,
    readonly clock: Clock = systemClock,
  ) {}

  /** Holders through this object. */
  get held(): number {
    return this.#held;
  }

  acquire(shared: boolean, options: AcquireOptions | undefined): Promise<LockHandle> {
    try {
      const given = acquireOptions(options);
      given.signal?.throwIfAborted();
      const handle = this.tryAcquire(shared);
      if (handle !== null) return Promise.resolve(handle);
      if (given.timeout === 0) throw new LockTimeoutError(this.path, 0);
      return this.#wait(shared, given);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  tryAcquire(shared: boolean): LockHandle | null {
    if (this.#closed) throw new LockClosedError(this.path);
    if (!this.queue.isFree(shared)) return null;
    const grant = this.mechanism.tryLock(shared);
    return grant === null ? null : this.#hold(grant, shared);
  }

  acquireSync(shared: boolean, options: { timeout?: number } | undefined): LockHandle {
    const { timeout = Infinity } = optionsObject<{ timeout?: number }>(options);
    checkTimeout(timeout);
    const handle = this.tryAcquire(shared);
    if (handle !== null) return handle;
    if (!this.queue.isFree(shared) || this.mechanism.overlapsHeld?.()) {
      const who = this.queue.waiting > 0 && this.queue.holders === 0 ? 'stands before this call' : 'holds it';
      throw new LockDeadlockError(this.path, `this thread's own code ${who}, and acquireSync would block the thread it needs to let go`);
    }
    const grant = timeout === 0 ? null : this.mechanism.waitSync(shared, timeout);
    if (grant === null) throw new LockTimeoutError(this.path, timeout);
    return this.#hold(grant, shared);
  }

  async with<T>(shared: boolean, fn: (handle: LockHandle) => T | PromiseLike<T>, options: AcquireOptions | undefined): Promise<T> {
    callback(fn);
    const handle = await this.acquire(shared, options);
    try {
      return await fn(handle);
    } finally {
      handle.release();
    }
  }

  close(): void {
    this.#closed = true;
    // From the back: else each one that leaves would hand its turn to the next one that is to leave.
    for (const request of [...this.#requests].reverse()) request.fail(new LockClosedError(this.path));
    this.mechanism.dispose();
  }

  returned(grant: Grant, shared: boolean): void {
    this.#held--;
    grant.unlock();
    this.queue.released(shared);
  }

  describeWait(request: Request, since: number): WaitInfo {
    let ahead = 0;
    for (const waiter of this.queue) {
      if (waiter === request) break;
      ahead++;
    }
    return { path: this.path, since: new Date(since), ahead, holders: this.parties().holders };
  }

  /** Who holds and who waits: this thread as its queue knows it, other processes as the kernel tells. */
  parties(): Parties {
    const { queue, path, mechanism } = this;
    const self = (shared: boolean): LockParty => ({ pid: process.pid, command: process.argv.join(' '), shared });
    const others = path === undefined ? undefined : partiesOf(path, KERNEL_NAMES[mechanism.name ?? 'lockfile']);
    const strangers = (parties: LockParty[] = []): LockParty[] => parties.filter(({ pid }) => pid !== process.pid);
    const ours = Array.from({ length: queue.holders }, () => self(queue.heldShared));
    return {
      // If it is our process but not our thread, it is another Worker.
      holders: ours.length === 0 ? (others?.holders ?? []) : [...ours, ...strangers(others?.holders)],
      waiters: [...Array.from(queue, (waiter) => self(waiter.shared)), ...strangers(others?.waiters)],
    };
  }

  #wait(shared: boolean, options: AcquireOptions): Promise<LockHandle> {
    return new Promise((resolve, reject) => {
      const request: Request = new Request(
        this,
        shared,
        (grant) => {
          this.#requests.delete(request);
          resolve(this.#handle(grant, shared));
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

  #hold(grant: Grant, shared: boolean): LockHandle {
    this.queue.hold(shared);
    return this.#handle(grant, shared);
  }

  #handle(grant: Grant, shared: boolean): LockHandle {
    this.#held++;
    return new Handle(this, grant, shared);
  }
}

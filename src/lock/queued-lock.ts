/** What all locks share: a queue, a mechanism behind it, and the ways to ask. */
import { LockClosedError, LockDeadlockError, LockTimeoutError, LockUnsupportedError } from '../errors.js';
import type { Grant, Mechanism } from '../mechanism/mechanism.js';
import { type AcquireOptions, acquireOptions, callback, timeout as checkTimeout, type LockParty, optionsObject, type WaitInfo } from '../options.js';
import { type Clock, systemClock } from '../queue/clock.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { heldHere, runHolding } from './context.js';
import { Handle, type HandleOwner, type Hold, type LockHandle } from './handle.js';
import { inLine, type Parties, partiesOf } from './parties.js';
import { Request, type RequestContext } from './request.js';

const NO_UPGRADE = 'this async context holds it for reading, and a reader cannot become a writer';
const NO_DOWNGRADE = 'this async context holds it for writing, and a writer cannot become a reader';
const WAITS_FOR_ITSELF = 'this async context holds the lock itself: it waits for its own release (see the option reentrant)';

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
    /** Whether a context that holds the lock acquires it again without waiting. */
    readonly reentrant = false,
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
    const again = this.#again(shared);
    if (again !== undefined) return again;
    if (!this.queue.isFree(shared)) return null;
    const grant = this.mechanism.tryLock(shared);
    return grant === null ? null : this.#hold(grant, shared);
  }

  /**
   * Takes the lock from whoever has it, in whatever process. Who waits goes on waiting.
   * @param robbed the handles of this thread, which are released
   */
  steal(robbed: Iterable<LockHandle>): LockHandle {
    const grant = this.queue.exchange(() => {
      const stolen = this.mechanism.steal?.(() => {
        for (const handle of robbed) handle.release();
      });
      if (stolen !== undefined) this.queue.hold(false);
      return stolen;
    });
    if (grant === undefined) throw new LockUnsupportedError(this.path, 'this kind of lock cannot be stolen');
    return this.#handle({ grant, shared: false, handles: 1 });
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

  async with<T>(
    shared: boolean,
    fn: (handle: LockHandle) => T | PromiseLike<T>,
    options: AcquireOptions | undefined,
    around: (acquire: () => Promise<LockHandle>) => Promise<LockHandle> = (acquire) => acquire(),
  ): Promise<T> {
    callback(fn);
    const handle = (await around(() => this.acquire(shared, options))) as Handle;
    try {
      return await runHolding(this.queue, handle.hold, () => fn(handle));
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

  returned(hold: Hold): void {
    this.#held--;
    if (--hold.handles > 0) return;
    hold.grant.unlock();
    this.queue.released(hold.shared);
  }

  describeWait(request: Request, since: number): WaitInfo {
    let ahead = 0;
    for (const waiter of this.queue) {
      if (waiter === request) break;
      ahead++;
    }
    const info: WaitInfo = { path: this.path, since: new Date(since), ahead, holders: this.parties().holders };
    if (request.waitsForItself) info.warning = WAITS_FOR_ITSELF;
    return info;
  }

  /** Who holds and who waits: this thread as its queue knows it, other processes as the kernel tells. */
  parties(): Parties {
    const { queue, path, mechanism } = this;
    const { sidecar } = mechanism;
    const self = (shared: boolean): LockParty => ({ pid: process.pid, command: process.argv.join(' '), shared });
    const others = path === undefined ? undefined : partiesOf(path, KERNEL_NAMES[mechanism.name ?? 'lockfile']);
    const strangers = (parties: LockParty[] = []): LockParty[] => parties.filter(({ pid }) => pid !== process.pid);
    const ours = Array.from({ length: queue.holders }, () => self(queue.heldShared));
    return {
      // If it is our process but not our thread, it is another Worker.
      holders: ours.length === 0 ? (others?.holders ?? []) : [...ours, ...strangers(others?.holders)],
      waiters: [...Array.from(queue, (waiter) => self(waiter.shared)), ...strangers(sidecar === undefined ? others?.waiters : inLine(sidecar))],
    };
  }

  /**
   * A context that holds the lock already. In the other mode it is refused: a reader that waits to become a writer
   * would wait for itself, and `flock` converts in two steps, with a gap in which others get in.
   */
  #again(shared: boolean): LockHandle | undefined {
    const hold = heldHere(this.queue);
    if (hold === undefined) return undefined;
    if (hold.shared !== shared) throw new LockDeadlockError(this.path, shared ? NO_DOWNGRADE : NO_UPGRADE);
    if (!this.reentrant) return undefined;
    hold.handles++;
    return this.#handle(hold);
  }

  #wait(shared: boolean, options: AcquireOptions): Promise<LockHandle> {
    return new Promise((resolve, reject) => {
      const request: Request = new Request(
        this,
        shared,
        heldHere(this.queue) !== undefined,
        (grant) => {
          this.#requests.delete(request);
          resolve(this.#handle({ grant, shared, handles: 1 }));
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
    return this.#handle({ grant, shared, handles: 1 });
  }

  #handle(hold: Hold): LockHandle {
    this.#held++;
    return new Handle(this, hold);
  }
}

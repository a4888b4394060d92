/** What all locks share: a queue, a mechanism behind it, and the ways to ask. */
import { throwIfAborted } from '../abort.js';
import {
  LockClosedError,
  LockDeadlockError,
  LockTimeoutError,
  LockUnsupportedError,
  type Situation,
} from '../errors.js';
import {
  atOnce,
  commandLine,
  inLine,
  inSmallSteps,
  type Looking,
  type Parties,
  partiesOf,
} from '../inspect/proc-locks.js';
import {
  type AcquireOptions,
  acquireOptions,
  callback,
  timeout as checkTimeout,
  type LockParty,
  optionsObject,
  type WaitInfo,
} from '../options.js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Grant, Mechanism } from './backend.js';
import { type Clock, systemClock } from './clock.js';
import type { FifoQueue } from './fifo-queue.js';
import { Handle, type HandleOwner, type Hold, type LockHandle } from './handle.js';
import { heldHere, runHolding } from './reentrancy.js';
import { Request, type RequestContext } from './request.js';

const NO_UPGRADE = 'this async context holds it for reading, and a reader cannot become a writer';
const NO_DOWNGRADE = 'this async context holds it for writing, and a writer cannot become a reader';
const WAITS_FOR_ITSELF =
  'this async context holds the lock itself, and waits for its own release (see the option reentrant)';

/** How long, in ms, a timeout may be late for the sake of naming the holders; and how long acquireSync may look for them. */
const TIMEOUT_LOOK_MS = 100;
const SYNC_LOOK_MS = 50;

/** A holder that the system does not show. */
const UNSEEN: LockParty = { pid: 0, shared: false };

function strangers(parties: LockParty[] = []): LockParty[] {
  return parties.filter(({ pid }) => pid !== process.pid);
}

/** The looks that are under way at a path. */
const looks = new WeakMap<FifoQueue, Map<string, Promise<Parties | undefined>>>();

let warnedOfSelf = false;

function warnOfSelf(path: string | undefined): void {
  if (warnedOfSelf) return;
  warnedOfSelf = true;
  process.emitWarning(
    `acquiring ${path === undefined ? 'an in-process lock' : `the lock '${path}'`}: ${WAITS_FOR_ITSELF}`,
    {
      type: 'FairlockWarning',
      code: 'FAIRLOCK_SELF_WAIT',
    },
  );
}

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
      throwIfAborted(given.signal);
      const handle = this.#try(shared, given.timeout !== 0);
      if (handle !== null) return Promise.resolve(handle);
      if (given.timeout === 0) return this.#failNow();
      return this.#wait(shared, given);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  tryAcquire(shared: boolean): LockHandle | null {
    return this.#try(shared, false);
  }

  #try(shared: boolean, waits: boolean): LockHandle | null {
    if (this.#closed) throw new LockClosedError(this.path);
    const again = this.#again(shared);
    if (again !== undefined) return again;
    if (!this.queue.isFree(shared)) return null;
    const grant = this.mechanism.tryLock(shared, undefined, waits);
    return grant === null ? null : this.#hold(grant, shared);
  }

  /** Whether the lock is held, by this or another process. */
  isLocked(): boolean {
    return this.queue.holders > 0 || this.mechanism.isLocked();
  }

  /**
   * Takes the lock from its holder, in whatever process. Waiters go on waiting.
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
    const { timeout = Infinity } = optionsObject<{ timeout?: number }>(options, ['timeout']);
    checkTimeout(timeout);
    const handle = this.#try(shared, timeout !== 0);
    if (handle !== null) return handle;
    if (!this.queue.isFree(shared) || this.mechanism.overlapsHeld?.()) {
      const who = this.queue.waiting > 0 && this.queue.holders === 0 ? 'is queued before this call' : 'holds it';
      throw new LockDeadlockError(
        this.path,
        `this thread's own code ${who}, and acquireSync would block the thread it needs to let go`,
      );
    }
    const grant = timeout === 0 ? null : this.mechanism.waitSync(shared, timeout);
    if (grant === null)
      throw new LockTimeoutError(
        this.path,
        timeout,
        this.#situation(atOnce(this.#lookAtOthers(), SYNC_LOOK_MS), false),
      );
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

  describeWait(request: Request, since: number): WaitInfo | Promise<WaitInfo> {
    const info = ({ holders }: Parties): WaitInfo => {
      let ahead = 0;
      for (const waiter of this.queue) {
        if (waiter === request) break;
        ahead++;
      }
      const told: WaitInfo = { path: this.path, since: new Date(since), ahead, holders };
      if (request.waitsForItself) told.warning = WAITS_FOR_ITSELF;
      return told;
    };
    return this.path === undefined ? info(this.parties()) : this.partiesLater().then(info);
  }

  timeoutError(timeout: number, waitsForItself: boolean): Error | Promise<Error> {
    const { path } = this;
    const error = (others?: Parties): Error =>
      new LockTimeoutError(path, timeout, this.#situation(others, waitsForItself));
    if (path === undefined) return error();
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(error()), TIMEOUT_LOOK_MS);
      const tell = (others?: Parties): void => {
        clearTimeout(late);
        resolve(error(others));
      };
      this.#othersLater().then(tell, () => tell());
    });
  }

  /** Who holds and who waits: this thread as its queue knows it, other processes as the system tells. */
  parties(): Parties {
    return this.#withOthers(atOnce(this.#lookAtOthers()));
  }

  /** The same, without blocking the event loop. */
  async partiesLater(): Promise<Parties> {
    return this.#withOthers(await this.#othersLater());
  }

  /** Requests that ask while a look is under way share it. */
  #othersLater(): Promise<Parties | undefined> {
    const ofPath = looks.get(this.queue) ?? new Map<string, Promise<Parties | undefined>>();
    looks.set(this.queue, ofPath);
    const key = `${this.mechanism.name} ${this.mechanism.sidecar}`;
    const look = ofPath.get(key) ?? inSmallSteps(this.#lookAtOthers()).finally(() => ofPath.delete(key));
    ofPath.set(key, look);
    return look;
  }

  #withOthers(others: Parties | undefined): Parties {
    const waiters = Array.from(this.queue, (waiter) => this.#self(waiter.shared));
    return { holders: this.#holders(others), waiters: [...waiters, ...strangers(others?.waiters)] };
  }

  #holders(others: Parties | undefined): LockParty[] {
    const { queue } = this;
    // If it is our process but not our thread, it is another Worker.
    if (queue.holders > 0)
      return [
        ...Array.from({ length: queue.holders }, () => this.#self(queue.heldShared)),
        ...strangers(others?.holders),
      ];
    const holders = others?.holders ?? [];
    return holders.length === 0 && this.#isHeldUnseen() ? [UNSEEN] : holders;
  }

  #self(shared: boolean): LockParty {
    const isSemaphore = this.mechanism.look !== undefined;
    return { pid: process.pid, command: commandLine(process.argv), shared: shared && !isSemaphore };
  }

  *#lookAtOthers(): Looking<Parties | undefined> {
    const { path, mechanism } = this;
    if (path === undefined) return undefined;
    const seen =
      mechanism.look === undefined
        ? yield* partiesOf(path, KERNEL_NAMES[mechanism.name ?? 'lockfile'])
        : yield* mechanism.look();
    if (mechanism.sidecar === undefined) return seen;
    return { holders: seen?.holders ?? [], waiters: yield* inLine(mechanism.sidecar) };
  }

  /** The kernel knows of a holder, and shows none. */
  #isHeldUnseen(): boolean {
    try {
      return this.mechanism.isLocked();
    } catch {
      return false;
    }
  }

  #situation(others: Parties | undefined, waitsForItself: boolean): Situation {
    const waiters = this.queue.waiting + strangers(others?.waiters).length;
    // In one thread there is nothing to tell that the program does not know.
    const holders = this.path === undefined ? [] : this.#holders(others);
    return { holders, waiters, warning: waitsForItself ? WAITS_FOR_ITSELF : undefined };
  }

  async #failNow(): Promise<never> {
    throw await this.timeoutError(0, heldHere(this.queue) !== undefined);
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
    const waitsForItself = heldHere(this.queue) !== undefined;
    if (waitsForItself) warnOfSelf(this.path);
    return new Promise((resolve, reject) => {
      const request: Request = new Request(
        this,
        shared,
        waitsForItself,
        (grant) => {
          this.#requests.delete(request);
          // Nothing that throws may come between a grant and its handle: the lock would be held by no one.
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

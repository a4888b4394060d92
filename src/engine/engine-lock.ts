/** The locks of an engine, as users see them. */
import { systemClock } from '../core/clock.js';
import { FifoQueue } from '../core/fifo-queue.js';
import type { Handle, LockHandle } from '../core/handle.js';
import { LockCore } from '../core/lock-core.js';
import { keepingAlive } from '../keep-alive.js';
import type { AcquireOptions, LockMode, LockParty } from '../options.js';
import { quietly } from '../quietly.js';
import { WeakValues } from '../weak-values.js';
import type { Engine, EngineRequest } from './engine.js';
import { EngineBackend, type EngineHold } from './engine-backend.js';
import type { Lock, LockRecords } from './lock.js';

/** A lock of an engine that is held. */
export interface FencedHandle extends LockHandle {
  /**
   * The fencing token: it grows with every grant of the lock, and never repeats. Holds that one grant serves in a row
   * (`handOver`) share it. A store that refuses smaller tokens than it has seen is safe from holders that were stopped.
   * @throws {LockUnsupportedError} why there is none
   */
  readonly token: number;
  /** Never rejects, and need not be awaited: it is retried until the engine does not hold the lock any more. */
  readonly release: () => Promise<void>;
  /** Before something that must not happen twice. No network. @throws {LockLostError} the lock is lost, or may be */
  check(): void;
  /** Asks the engine: one round trip. @throws {LockLostError} @throws {LockEngineError} there is no answer */
  verify(): Promise<void>;
}

/** What `inspect()` of an engine's lock sees. */
export interface EngineInspection {
  name: string;
  /** Whether this object holds it. */
  held: boolean;
  holders: LockParty[];
  waiters: LockParty[];
}

class Fenced implements FencedHandle {
  readonly fd = undefined;
  readonly release: () => Promise<void>;
  readonly #hold: EngineHold;

  constructor(private readonly handle: Handle) {
    this.#hold = handle.hold.grant as EngineHold;
    this.release = () => {
      handle.release();
      return this.#hold.released;
    };
  }

  get token(): number {
    return this.#hold.engineGrant.token;
  }
  get released(): boolean {
    return this.handle.released;
  }
  get shared(): boolean {
    return this.handle.shared;
  }
  /** The engine's grant looks at the clock first: a blocked event loop has not run the timer that would tell. */
  get signal(): AbortSignal {
    const { signal } = this.handle;
    // It tells its listeners, if it is lost for certain.
    if (!this.released) quietly(() => this.#hold.engineGrant.check());
    return signal;
  }
  check(): void {
    this.#hold.engineGrant.check();
  }
  verify(): Promise<void> {
    return keepingAlive(this.#hold.engineGrant.verify());
  }
  [Symbol.dispose](): void {
    void this.release();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

export interface EngineLockOptions {
  /** How many times in a row a release hands the lock to the next waiter of this process. @default 0: strict order */
  handOver?: number | undefined;
  /** As for `InterProcessLock`. @default false */
  reentrant?: boolean | undefined;
}

/** What the locks of one engine object share: a queue for each name. */
export class EngineQueues {
  readonly #cores = new Set<WeakRef<LockCore>>();
  readonly #collected = new FinalizationRegistry<WeakRef<LockCore>>((ref) => this.#cores.delete(ref));
  #isClosed = false;
  readonly #queues = new WeakValues<FifoQueue>();

  queueFor(name: string): FifoQueue {
    return this.#queues.get(name, () => new FifoQueue());
  }

  /** A lock that closes with all others. One that waits or holds is not collected meanwhile. */
  add(core: LockCore): void {
    if (this.#isClosed) return core.close();
    const ref = new WeakRef(core);
    this.#cores.add(ref);
    this.#collected.register(core, ref);
  }

  /** Waiters reject with `LockClosedError`, and so do requests from now on; what is held stays held. */
  close(): void {
    this.#isClosed = true;
    for (const core of this.#cores) core.deref()?.close();
    this.#cores.clear();
  }
}

abstract class EngineLockBase implements Disposable {
  /** @internal */ protected readonly core: LockCore;

  constructor(
    private readonly engine: Engine,
    readonly name: string,
    queues: EngineQueues,
    { handOver = 0, reentrant = false }: EngineLockOptions = {},
    private readonly count?: number,
  ) {
    const queue = queues.queueFor(count === undefined ? name : `${name}\0semaphore`);
    const backend = new EngineBackend(engine, name, queue, count, handOver);
    this.core = new LockCore(name, queue, backend, systemClock, reentrant);
    queues.add(this.core);
  }

  /** Whether a handle of this object holds it. */
  get held(): boolean {
    return this.core.held > 0;
  }

  /** What `runOnce` keeps beside this lock. */
  get records(): LockRecords {
    const { engine, name } = this;
    return {
      read: (key) => keepingAlive(engine.readRecord(name, key)),
      write: (key, text) => keepingAlive(engine.writeRecord(name, key, text)),
    };
  }

  /** The processes that hold and wait, as the engine knows them. */
  async inspect(): Promise<EngineInspection> {
    const { engine, name, held, count } = this;
    const request: EngineRequest =
      count === undefined ? { name, mode: 'exclusive' } : { name, mode: 'shared', permits: count };
    return { name, held, ...(await keepingAlive(engine.inspect(request))) };
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held until it is released. */
  close(): void {
    this.core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  protected async acquireIn(mode: LockMode, options: AcquireOptions | undefined): Promise<FencedHandle> {
    return new Fenced(await this.core.acquire(mode, options));
  }

  protected async tryIn(mode: LockMode): Promise<FencedHandle | null> {
    const handle = await this.core.tryAcquireLater(mode);
    return handle === null ? null : new Fenced(handle);
  }

  protected async withIn<T>(
    mode: LockMode,
    fn: (handle: FencedHandle) => T | PromiseLike<T>,
    options: AcquireOptions | undefined,
  ): Promise<T> {
    const run = typeof fn === 'function' ? (handle: LockHandle) => fn(new Fenced(handle as Handle)) : fn;
    return this.core.with(mode, run, options);
  }
}

/** A lock between the processes of many machines. */
export class EngineLock extends EngineLockBase implements Lock {
  /**
   * Waits for its turn, then for the lock, through outages of the engine.
   * @throws {LockTimeoutError} {LockClosedError} {LockUnsupportedError} `signal.reason`; {LockEngineError} the engine
   *   refuses for a reason that waiting does not repair
   */
  acquire(options?: AcquireOptions): Promise<FencedHandle> {
    return this.acquireIn('exclusive', options);
  }

  /** Null: it is held or waited for. @throws {LockEngineError} the engine does not answer */
  tryAcquire(): Promise<FencedHandle | null> {
    return this.tryIn('exclusive');
  }

  /** Holds the lock while `fn` runs, until its promise is settled. */
  withLock<T>(fn: (handle: FencedHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.withIn('exclusive', fn, options);
  }
}

/** Many readers or one writer, between the processes of many machines. */
export class EngineReaderWriterLock extends EngineLockBase {
  acquireRead(options?: AcquireOptions): Promise<FencedHandle> {
    return this.acquireIn('shared', options);
  }
  acquireWrite(options?: AcquireOptions): Promise<FencedHandle> {
    return this.acquireIn('exclusive', options);
  }
  tryAcquireRead(): Promise<FencedHandle | null> {
    return this.tryIn('shared');
  }
  tryAcquireWrite(): Promise<FencedHandle | null> {
    return this.tryIn('exclusive');
  }
  withReadLock<T>(fn: (handle: FencedHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.withIn('shared', fn, options);
  }
  withWriteLock<T>(fn: (handle: FencedHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.withIn('exclusive', fn, options);
  }
}

/** At most `permits` holders, over the processes of many machines. */
export class EngineSemaphore extends EngineLockBase {
  constructor(
    engine: Engine,
    name: string,
    queues: EngineQueues,
    readonly permits: number,
  ) {
    super(engine, name, queues, {}, permits);
  }

  acquire(options?: AcquireOptions): Promise<FencedHandle> {
    return this.acquireIn('shared', options);
  }
  tryAcquire(): Promise<FencedHandle | null> {
    return this.tryIn('shared');
  }
  withPermit<T>(fn: (handle: FencedHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.withIn('shared', fn, options);
  }
}

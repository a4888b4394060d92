/** One leader among the processes (and Workers) of a machine. */
import { EventEmitter } from 'node:events';
import { canonicalPath } from '../file/paths.js';
import { type AcquireOptions, InterProcessLock, type InterProcessLockOptions, LockClosedError, type LockHandle } from '../index.js';
import { isHeldBy } from '../lock/parties.js';
import { callback, lockOptions, optionsObject, withoutUndefined } from '../options.js';
import { type Leader, Office } from './office.js';

/** As for `InterProcessLock`, but with `fairness` 'auto': candidates lead in the order in which they stood, where that can be had. */
export type LeaderElectionOptions = Pick<InterProcessLockOptions, 'mechanism' | 'fairness' | 'mode' | 'followSymlinks' | 'stale' | 'update'>;

/** The time in which one candidate leads. */
export interface Term {
  /**
   * The fencing token: greater with every term on this path, over all processes and restarts, and never repeated. Send
   * it along with what the leader writes; a store that refuses smaller tokens than it has seen is safe from a leader
   * that was stopped, lost its lock, and does not know it yet.
   */
  readonly token: number;
  /** When it began. */
  readonly since: Date;
  /** Aborted when the term is to end (`resign()`, `close()`), when the lock was lost (`LockLostError`), and when the term has ended. */
  readonly signal: AbortSignal;
}

interface Events {
  elected: [term: Term];
  resigned: [term: Term];
}

/**
 * Stands for election on a lock file: who holds the lock leads. When the leader dies, however it dies, the kernel hands
 * the lock to the next candidate; there is no heartbeat, and no lease that would have to run out first.
 *
 * - `run(fn)` leads for one term: while `fn` runs, then no longer.
 * - `for await (const term of election)` leads again and again: the body of the loop is the term; after it the
 *   candidate stands again, at the end of the line.
 *
 * Events: `elected` when a term of this object begins, `resigned` when it has ended and the lock is free.
 */
export class LeaderElection extends EventEmitter<Events> implements AsyncIterable<Term>, Disposable {
  /** The absolute path of the lock file. */
  readonly path: string;
  readonly #lock: InterProcessLock;
  readonly #canonical: string;
  readonly #office: Office;
  #term: RunningTerm | undefined;

  /** Touches no file. @throws what the constructor of `InterProcessLock` throws */
  constructor(path: string | URL, options?: LeaderElectionOptions) {
    super();
    const { mechanism, fairness = 'auto', mode, followSymlinks, stale, update } = optionsObject<LeaderElectionOptions>(options);
    const given = withoutUndefined({ mechanism, fairness, mode, followSymlinks, stale, update });
    this.#lock = new InterProcessLock(path, given);
    this.path = this.#lock.path;
    const resolved = lockOptions(given);
    this.#canonical = canonicalPath(this.path, resolved.followSymlinks);
    this.#office = new Office(this.#canonical, resolved.mode);
  }

  /** Whether this object leads, and has not been told to end its term. */
  get isLeader(): boolean {
    return this.#term !== undefined && !this.#term.signal.aborted;
  }

  /**
   * Waits to be elected, then leads while `fn` runs; resolves or rejects with it. The lock is held until `fn` is done,
   * whatever happened meanwhile: two never lead at once. So `fn` should end when `term.signal` is aborted.
   * @param options how long to stand: `timeout` in ms, `signal`, `onWait`, as for `InterProcessLock.acquire`
   * @throws {LockClosedError} `close()` was called before it was elected
   * @throws {RecordDamagedError} the last token cannot be read
   * @throws what `InterProcessLock.acquire` throws
   */
  async run<T>(fn: (term: Term) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    callback(fn);
    let term: RunningTerm | undefined;
    try {
      return await this.#lock.withLock(async (handle) => {
        term = this.#begin(handle);
        try {
          this.emit('elected', term);
          return await fn(term);
        } finally {
          this.#end(term);
        }
      }, options);
    } finally {
      if (term !== undefined) this.emit('resigned', term);
    }
  }

  /** Terms, one after the other, until `close()`. Leaving the loop ends the term that runs. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Term, void, undefined> {
    for (;;) {
      const handle = await this.#lock.acquire().catch(unlessClosed);
      if (handle === undefined) return;
      let term: RunningTerm | undefined;
      try {
        term = this.#begin(handle);
        this.emit('elected', term);
        yield term;
      } finally {
        if (term !== undefined) this.#end(term);
        handle.release();
        if (term !== undefined) this.emit('resigned', term);
      }
    }
  }

  /**
   * Who leads, of all processes: null if nobody does, or cannot be seen (another PID namespace). A snapshot.
   * @throws {RecordDamagedError}
   */
  leader(): Leader | null {
    const occupant = this.#office.occupant();
    return occupant !== null && this.#holdsTheLock(occupant.pid) ? occupant : null;
  }

  /**
   * Tells the term of this object to end, by its `signal`; the next candidate leads as soon as its function (or the
   * body of its loop) is done. Nothing happens where this object does not lead.
   * @param reason of the signal, default an AbortError
   */
  resign(reason?: unknown): void {
    this.#term?.tell(reason ?? new DOMException('The leader resigned', 'AbortError'));
  }

  /** Resigns and stands no more: pending `run()`s reject with `LockClosedError`, loops over terms end. */
  close(): void {
    this.#lock.close();
    this.resign();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #begin(handle: LockHandle): RunningTerm {
    const since = new Date();
    const term = new RunningTerm(this.#office.enter(since), since, handle);
    this.#term = term;
    return term;
  }

  #end(term: RunningTerm): void {
    if (!term.lost) this.#office.leave(term.token);
    term.end();
    if (this.#term === term) this.#term = undefined;
  }

  /** The record alone does not tell a leader from one that was killed: the kernel knows. */
  #holdsTheLock(pid: number): boolean {
    const { mechanism } = this.#lock;
    const seen = mechanism === 'lockfile' ? undefined : isHeldBy(this.#canonical, pid);
    return seen ?? isAlive(pid);
  }
}

class RunningTerm implements Term {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #lock: AbortSignal;
  readonly #onLoss: () => void;

  constructor(
    readonly token: number,
    readonly since: Date,
    handle: LockHandle,
  ) {
    this.signal = this.#controller.signal;
    this.#lock = handle.signal;
    this.#onLoss = () => this.tell(this.#lock.reason);
    this.#lock.addEventListener('abort', this.#onLoss);
    if (this.#lock.aborted) this.#onLoss();
  }

  get lost(): boolean {
    return this.#lock.aborted;
  }

  tell(reason: unknown): void {
    this.#controller.abort(reason);
  }

  end(): void {
    this.#lock.removeEventListener('abort', this.#onLoss);
    this.tell(new DOMException('The term has ended', 'AbortError'));
  }
}

function unlessClosed(error: unknown): undefined {
  if (!(error instanceof LockClosedError)) throw error;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

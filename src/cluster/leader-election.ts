/** One leader among the processes (and Workers) of a machine. */
import { EventEmitter } from 'node:events';
import { pause } from '../engine/retry.js';
import { codeOf, LockUnsupportedError, messageOf } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessLock,
  type InterProcessLockOptions,
  type Lock,
  type LockParty,
} from '../index.js';
import { isHeldBy } from '../inspect/index.js';
import { Deadline } from '../timers.js';
import { callback, lockOptions, optionsObject, withoutUndefined } from '../validate.js';
import { warn } from '../warnings.js';
import { isFileLock, isLock } from './any-lock.js';
import { type Leader, LeaderRecord } from './leader-record.js';
import { placeFor } from './record-place.js';
import { begin, type Refusal, type RunningTerm, type Term } from './term.js';

/**
 * As for `InterProcessLock`, but with `fairness` 'auto': candidates lead in the order in which they asked, where that
 * is available.
 */
export type LeaderElectionOptions = Pick<
  InterProcessLockOptions,
  'mechanism' | 'fairness' | 'mode' | 'ignoreUmask' | 'followSymlinks' | 'stale' | 'update'
>;

const ELECTION_OPTIONS = [
  'mechanism',
  'fairness',
  'mode',
  'ignoreUmask',
  'followSymlinks',
  'stale',
  'update',
] as const satisfies (keyof LeaderElectionOptions)[];

/** Until a candidate tries again that could not write its token. */
const TRY_AGAIN_MS = 1000;

/** What a lock object leaves open: the permissions of the record beside it. */
const RECORD_OPTIONS = ['mode', 'ignoreUmask'];

interface Events {
  elected: [term: Term];
  resigned: [term: Term];
  tokenError: [error: Error];
}

/**
 * A candidate for election on a lock file: the holder of the lock is the leader. When the leader dies, however it dies,
 * the kernel grants the lock to the next candidate; there is no heartbeat, and no lease that would have to run out
 * first.
 *
 * - `run(fn)` leads for one term: while `fn` runs, then no longer.
 * - `for await (const term of election)` leads again and again: the body of the loop is the term; after it the
 *   candidate stands again, at the end of the queue.
 *
 * Events: `elected` when a term of this object begins, `resigned` when it has ended and the lock is free, `tokenError`
 * when it was elected and could not write its token because the disk is full or for another reason that may pass: then
 * it stays a candidate and tries again a second later. The first of these is a warning too
 * (`FAIRLOCK_TOKEN_UNWRITTEN`).
 */
export class LeaderElection extends EventEmitter<Events> implements AsyncIterable<Term>, Disposable, AsyncDisposable {
  readonly #lock: InterProcessLock | Lock;
  /** Of a lock file. The locks of an engine have their own tokens. */
  readonly #record: LeaderRecord | undefined;
  readonly #closed = new AbortController();
  #term: RunningTerm | undefined;
  #warned = false;

  /**
   * Touches no file.
   * @param path of the lock file, or a lock: of an engine (`fairlock/etcd`, `fairlock/postgres`, `fairlock/redis`), or
   * an `InterProcessLock`
   * @param options with a lock only `mode` and `ignoreUmask`, for the record beside it; without them its permissions
   * are those of the lock file
   * @throws what the constructor of `InterProcessLock` throws
   */
  constructor(path: string | URL | Lock, options?: LeaderElectionOptions) {
    super();
    if (isLock(path)) {
      const permissions = optionsObject<LeaderElectionOptions>(options, isFileLock(path) ? RECORD_OPTIONS : []);
      const { mode, ignoreUmask } = lockOptions(permissions);
      this.#lock = path;
      if (isFileLock(path))
        this.#record = new LeaderRecord(path, permissions.mode === undefined ? {} : { mode, ignoreUmask });
      return;
    }
    const given = {
      fairness: 'auto' as const,
      ...withoutUndefined(optionsObject<LeaderElectionOptions>(options, ELECTION_OPTIONS)),
    };
    const lock = new InterProcessLock(path, given);
    this.#lock = lock;
    this.#record = new LeaderRecord(lock);
  }

  /** The absolute path of the lock file, or the name of the lock. */
  get path(): string {
    return this.#lock.name;
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
    const deadline = new Deadline(options?.timeout ?? Infinity);
    for (let waiting = options; ; waiting = { ...options, ...deadline.options }) {
      let begun: RunningTerm | Refusal | undefined;
      try {
        const outcome = await this.#lock.withLock(async (handle) => {
          begun = begin(handle, this.#record);
          if ('refusal' in begun) return undefined as T;
          const term = begun;
          this.#term = term;
          try {
            this.emit('elected', term);
            return await fn(term);
          } finally {
            term.end();
          }
        }, waiting);
        if (!isRefusal(begun)) return outcome;
      } finally {
        this.#ended(begun);
      }
      await this.#pause(begun.refusal, options?.signal);
    }
  }

  /** Terms, one after the other, until `close()`. Leaving the loop ends the term that runs. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Term, void, undefined> {
    for (;;) {
      const handle = await this.#lock.acquire().catch(unlessClosed);
      if (handle === undefined) return;
      let begun: RunningTerm | Refusal | undefined;
      try {
        begun = begin(handle, this.#record);
        if (!isRefusal(begun)) {
          this.#term = begun;
          this.emit('elected', begun);
          yield begun;
        }
      } finally {
        if (begun !== undefined && !isRefusal(begun)) begun.end();
        await handle.release();
        this.#ended(begun);
      }
      if (isRefusal(begun)) await this.#pause(begun.refusal, undefined);
    }
  }

  /**
   * The leader among all processes; null if there is none. Its `pid` is 0 where the lock is held by a process that
   * cannot be seen from here (another PID namespace, another user). A snapshot.
   * @throws {RecordDamagedError}
   */
  leader(): Leader | null {
    const lock = this.#lock;
    if (!isFileLock(lock) || this.#record === undefined) {
      throw new LockUnsupportedError(this.path, 'the leader of an engine is asked for by currentLeader()');
    }
    const last = this.#record.lastLeader();
    if (last === null) return null;
    const holds = lock.mechanism === 'lockfile' ? undefined : isHeldBy(placeFor(lock).canonical, last.pid);
    if (holds === true) return last;
    // Its open files cannot be seen, or it holds nothing that can: the kernel knows whether the lock is held at all.
    if (!lock.isLocked()) return null;
    if (holds === undefined) return isAlive(last.pid) ? last : null;
    const others = lock.inspect().holders;
    // A holder that can be seen is the next leader, whose record is not written yet.
    return others.length > 0 && others.every(({ pid }) => pid === 0) ? { ...last, pid: 0 } : null;
  }

  /** The same, also where the lock is one of an engine, which is asked. Its `token` is 0 there. */
  async currentLeader(): Promise<Leader | null> {
    const lock = this.#lock as Partial<Inspectable>;
    if (this.#record !== undefined || lock.inspect === undefined) return this.leader();
    const [holder] = (await lock.inspect()).holders;
    if (holder === undefined) return null;
    const { pid, host, command = '', since = new Date(0) } = holder;
    return { pid, thread: 0, command, since, token: 0, ...(host !== undefined && { host }) };
  }

  /**
   * Tells the term of this object to end, by its `signal`; the next candidate leads as soon as its function (or the
   * body of its loop) is done. Nothing happens where this object does not lead.
   * @param reason of the signal, default an AbortError
   * @returns when the term is over and the lock is free. It waits for the function: one that ignores the signal lets it
   * wait for ever. Not to be awaited in that function itself.
   */
  async resign(reason?: unknown): Promise<void> {
    const term = this.#term;
    term?.tell(reason === undefined ? new DOMException('The leader resigned', 'AbortError') : reason);
    await term?.over;
  }

  /**
   * Resigns and stands no more: pending `run()`s reject with `LockClosedError`, loops over terms end.
   * @returns as `resign`: `await election.close(); process.exit()` lets a term that is draining come to its end. A
   * process that exits without waiting ends the term in the middle; the next one leads at once.
   */
  async close(): Promise<void> {
    this.#lock.close();
    this.#closed.abort();
    await this.resign();
  }

  [Symbol.dispose](): void {
    void this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The lock is free; of a term that was begun. */
  #ended(begun: RunningTerm | Refusal | undefined): void {
    if (begun === undefined || isRefusal(begun)) return;
    if (this.#term === begun) this.#term = undefined;
    begun.freed();
    this.emit('resigned', begun);
  }

  /** Tells why there was no term, and waits before the next try. */
  async #pause(error: Error, signal: AbortSignal | undefined): Promise<void> {
    this.emit('tokenError', error);
    if (!this.#warned) {
      this.#warned = true;
      warn(
        'FAIRLOCK_TOKEN_UNWRITTEN',
        `cannot write the token of the leader on '${this.path}', and tries again: ${messageOf(error)}`,
      );
    }
    await pause(TRY_AGAIN_MS, this.#closed.signal, ...(signal === undefined ? [] : [signal]));
  }
}

function isRefusal(begun: RunningTerm | Refusal | undefined): begun is Refusal {
  return begun !== undefined && 'refusal' in begun;
}

interface Inspectable {
  inspect(): Promise<{ holders: LockParty[] }>;
}

function unlessClosed(error: unknown): undefined {
  if (codeOf(error) !== 'ERR_LOCK_CLOSED') throw error;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** One leader among the processes (and Workers) of a machine. */
import { EventEmitter } from 'node:events';
import { onAbort } from '../abort.js';
import type { FencedHandle } from '../engine/engine-lock.js';
import { codeOf, LockUnsupportedError, messageOf } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessLock,
  type InterProcessLockOptions,
  type Lock,
  type LockHandle,
  type LockParty,
} from '../index.js';
import { canonicalPath, isHeldBy } from '../inspect/index.js';
import { clearTimeout, setTimeout } from '../timers.js';
import { callback, lockOptions, optionsObject, withoutUndefined } from '../validate.js';
import { isFileLock, isLock } from './any-lock.js';
import { type Leader, LeaderRecord } from './leader-record.js';

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

/** Errors that may pass: a candidate that cannot write its token because of one tries again. */
const PASSING = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'ENOMEM', 'EFBIG']);
/** Until it tries again. */
const TRY_AGAIN_MS = 1000;

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
  /**
   * Aborted when the term is to end (`resign()`, `close()`), when the lock was lost (`LockLostError`), and when the
   * term has ended.
   */
  readonly signal: AbortSignal;
}

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
export class LeaderElection extends EventEmitter<Events> implements AsyncIterable<Term>, Disposable {
  /** The absolute path of the lock file. */
  readonly path: string;
  readonly #lock: InterProcessLock | Lock;
  readonly #followSymlinks: boolean;
  /** Of a lock file. The locks of an engine have their own tokens. */
  readonly #record: LeaderRecord | undefined;
  readonly #closed = new AbortController();
  #term: RunningTerm | undefined;
  #warned = false;

  /**
   * Touches no file.
   * @param path of the lock file, or a lock: of an engine (`fairlock/etcd`, `fairlock/postgres`), or an
   * `InterProcessLock`
   * @throws what the constructor of `InterProcessLock` throws
   */
  constructor(path: string | URL | Lock, options?: LeaderElectionOptions) {
    super();
    if (isLock(path)) {
      optionsObject(options, []);
      this.#lock = path;
      this.path = path.name;
      this.#followSymlinks = false;
      if (isFileLock(path)) this.#record = new LeaderRecord(this.path, lockOptions({}));
      return;
    }
    const given = {
      fairness: 'auto' as const,
      ...withoutUndefined(optionsObject<LeaderElectionOptions>(options, ELECTION_OPTIONS)),
    };
    const lock = new InterProcessLock(path, given);
    this.#lock = lock;
    this.path = lock.path;
    const resolved = lockOptions(given);
    this.#followSymlinks = resolved.followSymlinks;
    this.#record = new LeaderRecord(this.path, resolved);
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
    const end = performance.now() + (options?.timeout ?? Infinity);
    for (let waiting = options; ; ) {
      let term: RunningTerm | undefined;
      let refusal: Error | undefined;
      try {
        const outcome = await this.#lock.withLock(async (handle) => {
          try {
            term = this.#begin(handle);
          } catch (error) {
            refusal = passing(error);
            return undefined as T;
          }
          try {
            this.emit('elected', term);
            return await fn(term);
          } finally {
            this.#end(term);
          }
        }, waiting);
        if (refusal === undefined) return outcome;
      } finally {
        if (term !== undefined) this.emit('resigned', term);
      }
      await this.#pause(refusal, options?.signal);
      if (end !== Infinity) waiting = { ...options, timeout: Math.max(0, end - performance.now()) };
    }
  }

  /** Terms, one after the other, until `close()`. Leaving the loop ends the term that runs. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Term, void, undefined> {
    for (;;) {
      const handle = await this.#lock.acquire().catch(unlessClosed);
      if (handle === undefined) return;
      let term: RunningTerm | undefined;
      let refusal: Error | undefined;
      try {
        try {
          term = this.#begin(handle);
        } catch (error) {
          refusal = passing(error);
        }
        if (term !== undefined) {
          this.emit('elected', term);
          yield term;
        }
      } finally {
        if (term !== undefined) this.#end(term);
        handle.release();
        if (term !== undefined) this.emit('resigned', term);
      }
      if (refusal !== undefined) await this.#pause(refusal, undefined);
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
    const holds =
      lock.mechanism === 'lockfile' ? undefined : isHeldBy(canonicalPath(this.path, this.#followSymlinks), last.pid);
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
   */
  resign(reason?: unknown): void {
    this.#term?.tell(reason === undefined ? new DOMException('The leader resigned', 'AbortError') : reason);
  }

  /** Resigns and stands no more: pending `run()`s reject with `LockClosedError`, loops over terms end. */
  close(): void {
    this.#lock.close();
    this.#closed.abort();
    this.resign();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #begin(handle: LockHandle): RunningTerm {
    const since = new Date();
    const token = this.#record?.beginTerm(since) ?? (handle as FencedHandle).token;
    const term = new RunningTerm(token, since, handle);
    this.#term = term;
    return term;
  }

  #end(term: RunningTerm): void {
    if (!term.lost) this.#record?.endTerm(term.token);
    term.end();
    if (this.#term === term) this.#term = undefined;
  }

  /** Tells why there was no term, and waits before the next try. */
  async #pause(error: Error | undefined, signal: AbortSignal | undefined): Promise<void> {
    if (error !== undefined) this.emit('tokenError', error);
    if (!this.#warned && error !== undefined) {
      this.#warned = true;
      process.emitWarning(
        `cannot write the token of the leader on '${this.path}', and tries again: ${messageOf(error)}`,
        {
          type: 'FairlockWarning',
          code: 'FAIRLOCK_TOKEN_UNWRITTEN',
        },
      );
    }
    await new Promise<void>((resolve) => {
      const ends = [this.#closed.signal, ...(signal === undefined ? [] : [signal])].map((one) =>
        onAbort(one, () => end()),
      );
      const end = (): void => {
        clearTimeout(timer);
        for (const stop of ends) stop();
        resolve();
      };
      const timer = setTimeout(end, TRY_AGAIN_MS);
      if (this.#closed.signal.aborted || signal?.aborted) end();
    });
  }
}

/** The error, if it may pass. @throws it, if not */
function passing(error: unknown): Error {
  if (!PASSING.has(codeOf(error) ?? '')) throw error;
  return error as Error;
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

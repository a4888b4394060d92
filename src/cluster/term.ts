/** The time in which one candidate leads: from its token to its end. */
import type { FencedHandle } from '../engine/engine-lock.js';
import { codeOf } from '../errors.js';
import type { LockHandle } from '../index.js';
import type { LeaderRecord } from './leader-record.js';

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

/** Errors that may pass: a candidate that cannot write its token because of one tries again. */
const PASSING = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'ENOMEM', 'EFBIG']);

export class RunningTerm implements Term {
  readonly since = new Date();
  readonly token: number;
  readonly signal: AbortSignal;
  /** Resolves when the lock is free. */
  readonly over: Promise<void>;
  readonly #controller = new AbortController();
  readonly #onLoss: () => void;
  #isOver: () => void = () => {};

  /** @param record of a lock file; the locks of an engine have their own tokens */
  constructor(
    private readonly handle: LockHandle,
    private readonly record: LeaderRecord | undefined,
  ) {
    this.token = record?.beginTerm(this.since, handle) ?? (handle as FencedHandle).token;
    this.signal = this.#controller.signal;
    this.over = new Promise((resolve) => {
      this.#isOver = resolve;
    });
    const { signal } = handle;
    this.#onLoss = () => this.tell(signal.reason);
    signal.addEventListener('abort', this.#onLoss);
    if (signal.aborted) this.#onLoss();
  }

  tell(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** The function of the term is done; the lock is about to be released. */
  end(): void {
    if (!this.handle.signal.aborted) this.record?.endTerm(this.token, this.handle);
    this.handle.signal.removeEventListener('abort', this.#onLoss);
    this.tell(new DOMException('The term has ended', 'AbortError'));
  }

  /** The lock is free. */
  freed(): void {
    this.#isOver();
  }
}

/** A term, or the error for which there is none now, if it may pass. @throws it, if not */
export function begin(handle: LockHandle, record: LeaderRecord | undefined): RunningTerm | Refusal {
  try {
    return new RunningTerm(handle, record);
  } catch (error) {
    if (!PASSING.has(codeOf(error) ?? '')) throw error;
    return { refusal: error as Error };
  }
}

export interface Refusal {
  readonly refusal: Error;
}

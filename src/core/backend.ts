/**
 * What stands behind the queue of a thread: a lock that other processes see. To add one, implement `Backend` and
 * `PendingAcquire`; nothing in core/ has to change (CONTRIBUTING.md has the steps).
 */
import type { LockMode, MechanismName, Parties } from '../options.js';

/** A lock that is held. */
export interface Grant {
  /** The descriptor that holds it, where there is one. */
  readonly fd: number | undefined;
  /** Of a semaphore: which permit, from 0. */
  readonly permit?: number;
  /** Releases the lock. Never throws. */
  unlock(): void;
  /** Gives up this process's share of it: the lock stays with processes that have inherited `fd`. Never throws. */
  readonly detach?: (() => void) | undefined;
  /** Looks, at once, whether the lock is held still. @throws {LockLostError} */
  check(): void;
  /**
   * Calls `onLoss` once if the lock is lost while it is held. Returns a function that ends the watch. Keeps no process
   * alive.
   */
  watch(onLoss: (error: Error) => void): () => void;
}

/** The end of a wait: a grant, or the error for which there is none. */
export type Done = (error: unknown, grant?: Grant) => void;

/** One request that could not be granted at once, from its place in the order between processes to its grant. */
export interface PendingAcquire {
  /** The last error of a lock service for which the wait goes on; undefined: there was none. */
  readonly trouble?: unknown;
  /**
   * The request has come to the head of its thread's queue: from now on it competes for the lock. `done` is called
   * once, during this call or later. Throws nothing.
   * @param justTried `tryAcquire()` failed a moment ago for this request, so the first try can be skipped
   */
  start(done: Done, justTried: boolean): void;
  /**
   * Ends the request, started or not. `done` is not called after it, and a lock that is granted at this very moment is
   * released. Does nothing once `done` was called.
   */
  cancel(): void;
}

/** What a backend can do, and by which means. */
export interface Capabilities {
  /** What locks, and how a waiter waits. */
  readonly layers: {
    readonly lock: 'fs-ext' | 'native-fallback' | 'proper-lockfile' | 'none';
    readonly wait: 'native-fallback' | 'poll' | 'none';
  };
  /** The order between processes. */
  readonly fairness: 'kernel' | 'fifo';
  /** See `AnswersAtOnce`. */
  readonly answersAtOnce: boolean;
  /** Whether the lock counts permits, of which `mode` says nothing. */
  readonly isSemaphore: boolean;
}

/** A look at other processes. Undefined where the system tells nothing. */
export interface Inspection {
  /** Blocks the thread; undefined also if the look takes longer than `budget` ms. */
  now(budget?: number): Parties | undefined;
  /** Lets the event loop run. */
  later(): Promise<Parties | undefined>;
}

/** Of backends that know nothing of other processes. */
export const NO_INSPECTION: Inspection = { now: () => undefined, later: async () => undefined };

export interface Backend {
  readonly name: MechanismName | undefined;
  readonly capabilities: Capabilities;
  /**
   * One try, without waiting; null: the lock is held elsewhere, or queued requests come first.
   * @param isFollowedByWait whether null leads to a request, so that it need not be right to the microsecond
   * @throws system errors
   */
  tryAcquire(mode: LockMode, isFollowedByWait: boolean): Grant | null | Promise<Grant | null>;
  /**
   * A request takes its place in the order between processes, where there is such an order.
   * @param onQueued called once when it has its place
   */
  request(mode: LockMode, onQueued?: () => void): PendingAcquire;
  /** Whether a request would find the lock taken by another open file than those of this thread. */
  isLocked(): boolean;
  inspect(): Inspection;
  /** Gives back what is kept for the next request. */
  dispose(): void;
}

/** A backend whose try answers at once, and not by a promise. */
export interface AnswersAtOnce {
  tryAcquire(mode: LockMode, isFollowedByWait: boolean): Grant | null;
}

/** A backend that can also wait while it blocks the thread. */
export interface SyncWaitable {
  /** Null once `timeout` ms are over. */
  waitSync(mode: LockMode, timeout: number): Grant | null;
  /** Whether this thread holds a lock of another name that overlaps this one, so that to block would be for ever. */
  overlapsHeld(): boolean;
}

/** A backend whose lock can be taken from its holder. */
export interface Stealable {
  /**
   * The holder learns of it by the watch of its grant.
   * @param releaseOwn called when it is time for this thread's own grants to be released
   */
  steal(releaseOwn: () => void): Grant;
}

/** A backend whose lock a process can inherit. */
export interface Adoptable {
  /** The lock that is held through this descriptor, which is the grant's from now on. @throws if it is not */
  adopt(fd: number): Grant;
}

export function answersAtOnce(backend: Backend): backend is AnswersAtOnce & Backend {
  return backend.capabilities.answersAtOnce;
}

export function isAdoptable(backend: Backend): backend is Backend & Adoptable {
  return 'adopt' in backend;
}

export function isSyncWaitable(backend: Backend): backend is Backend & SyncWaitable {
  return 'waitSync' in backend;
}

export function isStealable(backend: Backend): backend is Backend & Stealable {
  return 'steal' in backend;
}

/** What stands behind the queue: a way to lock that other processes see. */

import type { Ticket } from '../backends/fifo/ticket-queue.js';
import type { Looking, Parties } from '../inspect/proc-locks.js';
import type { LayerName } from '../native/loader.js';
import type { MechanismName } from '../options.js';

/** A lock that is held. */
export interface Grant {
  /** The descriptor that holds it. */
  readonly fd: number | undefined;
  /** Of a semaphore: which permit, from 0. */
  readonly permit?: number;
  /** Lets go. Never throws. */
  unlock(): void;
  /** Calls back once if the lock is lost while held. Returns what ends the watch. Keeps no process alive. */
  watch(lost: (error: Error) => void): () => void;
}

export type Granted = (error: Error | undefined, grant?: Grant) => void;

export interface Mechanism {
  readonly name: MechanismName | undefined;
  /** The file of the line of all processes, where there is one. */
  readonly sidecar?: string | undefined;
  readonly fairness?: 'kernel' | 'fifo';
  /** Which layer locks, and how a waiter waits. */
  readonly layers: { lock: LayerName | 'proper-lockfile' | 'none'; wait: 'native-fallback' | 'poll' | 'none' };
  /** Whether this thread holds what the lock overlaps under another queue's name, so that to block would be for ever. */
  readonly overlapsHeld?: (() => boolean) | undefined;
  /** Takes a place in the line of all processes, where there is one: to be given to `tryLock` and `wait`. */
  join?(shared: boolean): Ticket | undefined;
  /**
   * One try, now; null where another process has the lock, or comes first. Throws system errors.
   * @param waits whether null is followed by a wait, so that it need not be right to the microsecond. Default true
   */
  tryLock(shared: boolean, ticket?: Ticket, waits?: boolean): Grant | null;
  /** Whether a request would find the lock taken by another open file than those of this thread. Takes nothing for long. */
  isLocked(): boolean;
  /** The processes that hold and wait, where the mechanism knows better than the kernel's list of locks. */
  look?(): Looking<Parties | undefined>;
  /** Waits; calls back once, later. The function it returns gives up: no call back after it, and nothing stays locked. */
  wait(shared: boolean, granted: Granted, ticket?: Ticket): () => void;
  /** Waits and blocks the thread; null once `timeout` ms are over. */
  waitSync(shared: boolean, timeout: number): Grant | null;
  /**
   * Takes the lock from whoever has it, who is told by the watch of its grant. Calls `letGo` when it is time for this
   * thread's own grants to be given back.
   */
  steal?(letGo: () => void): Grant;
  /** Gives back what is kept for the next time. */
  dispose(): void;
}

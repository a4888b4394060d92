/** A request's turn between processes: a ticket of the queue, or, in the kernel's order, one that has come from the first. */
import type { OpenFile } from '../../files/open-file.js';
import type { NativeFile } from '../../native/native-file.js';

export interface Turn {
  /** Its ticket is still to be taken: see `whenReady`. */
  readonly isPending: boolean;
  /** Why there is no ticket. */
  readonly failure: Error | undefined;
  /** No other process had a ticket when its own was taken, so none is before it. */
  readonly isFirst: boolean;
  /** The open sidecar that carries the ticket; undefined: there is none to wait for. @throws the failure */
  readonly sidecar: NativeFile | undefined;
  /** Calls back, later, when it is not pending any more. */
  whenReady(callback: () => void): void;
  /** A thread waits for it. */
  parked(): void;
  /** The lock is held, and the kernel's call that locked it has dropped the ticket. */
  served(): void;
  /** The lock is held, and the ticket is not dropped yet. */
  pass(): void;
  /**
   * Gives it up at once: waiters behind need not wait until a thread that waits with it has noticed.
   * @param isInUse by such a thread @returns then the sidecar, to be closed when the thread uses it no more
   */
  drop(isInUse: boolean): OpenFile | undefined;
}

const nothing = (): undefined => undefined;

/** The kernel's order: there is nothing to wait for but the lock. */
export const KERNEL_TURN: Turn = {
  ...{ isPending: false, failure: undefined, isFirst: false, sidecar: undefined },
  ...{ whenReady: nothing, parked: nothing, served: nothing, pass: nothing, drop: nothing },
};

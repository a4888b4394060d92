/** The dictionaries of the Web Locks API, as lib.dom has them: https://www.w3.org/TR/web-locks/#api */
import type { Lock, LockMode } from './lock.js';

export interface LockOptions {
  /** `'shared'`: beside others that are shared. @default 'exclusive' */
  mode?: LockMode;
  /** The callback gets null if the lock is not free at once. @default false */
  ifAvailable?: boolean;
  /** Takes the lock from its holders; their requests reject with an AbortError. @default false */
  steal?: boolean;
  /** Ends the wait; no effect once the lock is granted. */
  signal?: AbortSignal;
}

export type LockGrantedCallback<T> = (lock: Lock | null) => T;

export interface LockInfo {
  name?: string;
  mode?: LockMode;
  /** `pid-4711`, for a Worker `pid-4711/2`; of another process only the former is known. */
  clientId?: string;
}

export interface LockManagerSnapshot {
  held?: LockInfo[];
  pending?: LockInfo[];
}

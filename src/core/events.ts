/**
 * What happens to a lock, on the channels of node:diagnostics_channel, for metrics, tracing and tests. While a channel
 * has no subscriber an event costs one look. A subscriber that throws is reported by Node as an uncaught exception; the
 * lock goes on.
 */
import { channel } from 'node:diagnostics_channel';
import type { LockMode, MechanismName } from '../options.js';
import type { Backend } from './backend.js';

/** What every event tells. */
export interface LockEvent {
  /** Of the lock; undefined for `FifoMutex` and `ReaderWriterLock`. */
  path: string | undefined;
  mechanism: MechanismName | undefined;
  mode: LockMode;
}

/** `fairlock:request`: a request could not be served at once, and waits from now on. */
export interface RequestEvent extends LockEvent {
  /** A number of its own in this thread, the same in all events of the request. */
  request: number;
}

/** `fairlock:queued`: the request has its place in the order between processes (fairness `'fifo'` only). */
export interface QueuedEvent extends RequestEvent {}

/** `fairlock:cancel`: the request ended without a grant, by timeout, abort, `close()` or an error. */
export interface CancelEvent extends RequestEvent {
  /** Undefined for a timeout, whose error is made later. */
  reason: unknown;
}

/** `fairlock:grant`: the lock is held from now on. */
export interface GrantEvent extends LockEvent {
  /** Undefined for a request that was served at once. */
  request: number | undefined;
  /** The same object in all events of one hold: a key for a WeakMap. */
  hold: object;
}

/** `fairlock:release`: the lock is held no longer. */
export interface ReleaseEvent extends LockEvent {
  hold: object;
}

/** `fairlock:loss`: the lock was lost while it was held. Seen only where `handle.signal` is used. */
export interface LossEvent extends LockEvent {
  hold: object;
  reason: Error;
}

/** `fairlock:steal`: the lock was taken from its holder; a grant follows. */
export interface StealEvent extends LockEvent {}

export const requested = channel('fairlock:request');
export const queued = channel('fairlock:queued');
export const cancelled = channel('fairlock:cancel');
export const granted = channel('fairlock:grant');
export const released = channel('fairlock:release');
export const lost = channel('fairlock:loss');
export const stolen = channel('fairlock:steal');

export function lockEvent(
  { path, backend }: { path: string | undefined; backend: Backend },
  mode: LockMode,
): LockEvent {
  return { path, mechanism: backend.name, mode };
}

let requests = 0;

/** The number of the next request. */
export function nextRequest(): number {
  requests++;
  return requests;
}

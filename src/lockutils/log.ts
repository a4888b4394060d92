/**
 * What lockutils tells of acquiring, waiting and holding: NODE_DEBUG=fairlock, and the channel `fairlock:lockutils`.
 */
import { channel } from 'node:diagnostics_channel';
import { debuglog } from 'node:util';

/** A message on the channel `fairlock:lockutils`. Times in ms. */
export interface LockEvent {
  event: 'acquiring' | 'acquired' | 'failed' | 'released' | 'not removed';
  name: string;
  external: boolean;
  /** The function that is synchronized. */
  by?: string;
  waited?: number;
  held?: number;
  /** Why a file was not removed. */
  error?: string;
}

const events = channel('fairlock:lockutils');
const debug = debuglog('fairlock');

export function tell(event: LockEvent): void {
  if (events.hasSubscribers) events.publish(event);
  if (!debug.enabled) return;
  const { name, external, by, waited, held, error } = event;
  const times = [
    waited === undefined ? '' : ` :: waited ${waited.toFixed(3)} ms`,
    held === undefined ? '' : ` :: held ${held.toFixed(3)} ms`,
  ].join('');
  debug(
    `${event.event} ${external ? 'external ' : ''}lock ` +
      `"${name}"${by === undefined ? '' : ` by "${by}"`}${times}${error === undefined ? '' : ` :: ${error}`}`,
  );
}

/** One queue per canonical path and thread. */

import { FifoQueue } from '../core/fifo-queue.js';
import type { ByteRange } from '../options.js';

interface Registry {
  readonly queues: Map<string, WeakRef<FifoQueue>>;
  readonly forgotten: FinalizationRegistry<string>;
}

/** Copies of this library share the queues, so the version is that of what one copy calls on the queues of another. */
const KEY = Symbol.for('fairlock.registry.v1');

function registry(): Registry {
  const place = globalThis as { [KEY]?: Registry };
  if (place[KEY] === undefined) {
    const queues: Registry['queues'] = new Map();
    const forgotten = new FinalizationRegistry<string>((key) => {
      // The key may have got a new queue since the old one died.
      if (queues.get(key)?.deref() === undefined) queues.delete(key);
    });
    Object.defineProperty(place, KEY, { value: { queues, forgotten } });
  }
  return place[KEY] as Registry;
}

/** The queue lives as long as a lock object, waiter or handle refers to it, so 100 000 paths in a row cost nothing. */
export function queueFor(key: string): FifoQueue {
  const { queues, forgotten } = registry();
  const known = queues.get(key)?.deref();
  if (known !== undefined) return known;
  const fresh = new FifoQueue();
  queues.set(key, new WeakRef(fresh));
  forgotten.register(fresh, key);
  return fresh;
}

/** A range of a file has a queue of its own. */
export function queueKey(canonical: string, range: ByteRange | undefined): string {
  return range === undefined ? canonical : `${canonical}\0${range.start}\0${range.length}`;
}

/** Whether this thread holds another range of the file, or all of it, that overlaps this one. */
export function overlapsHeld(canonical: string, range: ByteRange | undefined): boolean {
  const own = queueKey(canonical, range);
  const all: ByteRange = { start: 0, length: Infinity };
  const { start, length } = range ?? all;
  for (const [key, weak] of registry().queues) {
    if (key === own || (key !== canonical && !key.startsWith(`${canonical}\0`))) continue;
    const [, otherStart, otherLength] = key.split('\0');
    const other = otherStart === undefined ? all : { start: Number(otherStart), length: Number(otherLength) };
    const overlaps = start < other.start + other.length && other.start < start + length;
    if (overlaps && (weak.deref()?.holders ?? 0) > 0) return true;
  }
  return false;
}

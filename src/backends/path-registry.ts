/** One queue for each lock and thread, by the canonical path of its file. */
import { FifoQueue } from '../core/fifo-queue.js';
import type { ByteRange } from '../options.js';

/** What a queue belongs to. */
export interface QueueName {
  /** The canonical path. */
  readonly path: string;
  /** A range of a file has a queue of its own. */
  readonly range?: ByteRange | undefined;
  readonly isSemaphore?: boolean;
}

interface Entry {
  readonly name: QueueName;
  readonly queue: WeakRef<FifoQueue>;
}

interface Registry {
  readonly entries: Map<string, Entry>;
  readonly forgotten: FinalizationRegistry<string>;
}

/**
 * Copies of this library share the queues, so that they agree on the order; the version is that of the methods that one
 * copy calls on the queues of another.
 */
const KEY = Symbol.for('fairlock.registry.v2');

function registry(): Registry {
  const place = globalThis as { [KEY]?: Registry };
  if (place[KEY] === undefined) {
    const entries: Registry['entries'] = new Map();
    const forgotten = new FinalizationRegistry<string>((key) => {
      // The key may have got a new queue since the old one was collected.
      if (entries.get(key)?.queue.deref() === undefined) entries.delete(key);
    });
    Object.defineProperty(place, KEY, { value: { entries, forgotten } });
  }
  return place[KEY] as Registry;
}

/** Equal for equal names, and only for those. */
export function queueKey({ path, range, isSemaphore = false }: QueueName): string {
  return range === undefined && !isSemaphore ? path : [path, isSemaphore, range?.start, range?.length].join('\0');
}

/** The queue lives as long as a lock object, waiter or handle refers to it, so 100 000 paths in a row cost nothing. */
export function queueFor(name: QueueName): FifoQueue {
  const { entries, forgotten } = registry();
  const key = queueKey(name);
  const known = entries.get(key)?.queue.deref();
  if (known !== undefined) return known;
  const fresh = new FifoQueue();
  entries.set(key, { name, queue: new WeakRef(fresh) });
  forgotten.register(fresh, key);
  return fresh;
}

const ALL: ByteRange = { start: 0, length: Infinity };

/** @param one undefined: the whole file */
export function overlaps(one: ByteRange = ALL, other: ByteRange = ALL): boolean {
  return one.start < other.start + other.length && other.start < one.start + one.length;
}

/** Whether this thread holds another range of the file, or all of it, that overlaps this one. */
export function overlapsHeld(name: QueueName): boolean {
  const own = queueKey(name);
  for (const [key, { name: other, queue }] of registry().entries) {
    if (key === own || other.path !== name.path || other.isSemaphore) continue;
    if (overlaps(name.range, other.range) && (queue.deref()?.holders ?? 0) > 0) return true;
  }
  return false;
}

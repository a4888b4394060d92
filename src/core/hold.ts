/** One grant of a lock while it is held, by one handle or, where an async context acquired it again, by several. */
import type { LockMode } from '../options.js';
import type { Backend, Grant } from './backend.js';
import * as events from './events.js';
import type { FifoQueue } from './fifo-queue.js';

export class Hold {
  /** That are not released. */
  handles = 0;

  constructor(
    private readonly lock: { readonly path: string | undefined; readonly queue: FifoQueue; readonly backend: Backend },
    readonly grant: Grant,
    readonly mode: LockMode,
    /** Of the lock object: its handles. */
    private readonly count: { handles: number },
  ) {}

  get path(): string | undefined {
    return this.lock.path;
  }

  get queue(): FifoQueue {
    return this.lock.queue;
  }

  /** It has one more handle. */
  taken(): void {
    this.handles++;
    this.count.handles++;
  }

  /** A handle was released. */
  returned(): void {
    this.count.handles--;
    if (--this.handles > 0) return;
    this.grant.unlock();
    this.#ended();
  }

  /** Its only handle was detached: the lock is left to other processes. */
  detached(): void {
    this.count.handles--;
    this.handles--;
    this.grant.detach?.();
    this.#ended();
  }

  /** The lock was lost while it was held. */
  lost(reason: Error): void {
    if (events.lost.hasSubscribers) events.lost.publish({ ...this.#event(), hold: this, reason });
  }

  #ended(): void {
    if (events.released.hasSubscribers) events.released.publish({ ...this.#event(), hold: this });
    this.queue.released(this.mode);
  }

  #event(): events.LockEvent {
    return events.lockEvent(this.lock, this.mode);
  }
}

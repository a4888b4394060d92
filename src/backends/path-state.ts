/** What a thread has of a path: the queue of its requests, and what this copy of the library keeps beside it. */
import type { FifoQueue } from '../core/fifo-queue.js';
import { DescriptorCache } from '../files/descriptor-cache.js';
import type { Parties } from '../options.js';
import type { TicketQueue } from './order/ticket-queue.js';
import { type QueueName, queueFor } from './path-registry.js';

export class PathState {
  /** Open lock files that are not locked at the moment. */
  readonly descriptors = new DescriptorCache();
  /** Looks at other processes that are under way: requests that ask meanwhile share them. */
  readonly looks = new Map<string, Promise<Parties | undefined>>();
  #tickets: TicketQueue | undefined;

  constructor(
    readonly name: QueueName,
    readonly queue: FifoQueue,
  ) {}

  /** The queue of the requests of all processes; made by the first lock that wants strict order. */
  tickets(make: () => TicketQueue): TicketQueue {
    this.#tickets ??= make();
    return this.#tickets;
  }
}

const states = new WeakMap<FifoQueue, PathState>();

export function pathState(name: QueueName): PathState {
  const queue = queueFor(name);
  const state = states.get(queue) ?? new PathState(name, queue);
  states.set(queue, state);
  return state;
}

/**
 * The queue in front of a lock, of one path and thread: the holders, the one waiter that competes for the lock beyond
 * the queue, and the waiters behind it. No clock, no promise, no file.
 *
 *     enter ─▶ [ waiting: first … last ] ─▶ head ─acquired─▶ holders ──released──▶
 *                     └──── leave ────┘       └── leave
 *
 * Three rules make it strict: only the first waiter becomes the head, there is one head at a time, and a request that
 * arrives while another waits goes to the end. Between two calls the queue is never free while a waiter could be
 * admitted, so there is no moment at which a newcomer can overtake.
 */
import type { LockMode } from '../options.js';

export abstract class Waiter {
  abstract readonly mode: LockMode;
  /** @internal */ place: 'out' | 'waiting' | 'head' = 'out';
  /** @internal */ previous: Waiter | undefined = undefined;
  /** @internal */ next: Waiter | undefined = undefined;

  /** It has become the head. Answers, now or later, with `queue.acquired(this)` or `queue.leave(this)`. */
  abstract onHead(): void;
}

export class FifoQueue {
  #first: Waiter | undefined;
  #last: Waiter | undefined;
  #head: Waiter | undefined;
  #length = 0;
  #readers = 0;
  #writer = false;
  #admitting = false;

  /** How many wait, the head included. */
  get waiting(): number {
    return this.#length + (this.#head === undefined ? 0 : 1);
  }

  get holders(): number {
    return this.#writer ? 1 : this.#readers;
  }

  /** The mode in which it is held; of a free lock, the answer means nothing. */
  get heldMode(): LockMode {
    return this.#readers > 0 ? 'shared' : 'exclusive';
  }

  /** Whether a request that arrived now would be served at once. */
  isFree(mode: LockMode): boolean {
    return this.#first === undefined && this.#head === undefined && this.#admits(mode);
  }

  /** Adds a holder that did not wait. Only right after `isFree(mode)`. */
  hold(mode: LockMode): void {
    if (mode === 'shared') this.#readers++;
    else this.#writer = true;
  }

  /** Goes to the end of the queue. True: it is the head already, and `onHead` is not called. */
  enter(waiter: Waiter): boolean {
    waiter.place = 'waiting';
    waiter.previous = this.#last;
    if (this.#last === undefined) this.#first = waiter;
    else this.#last.next = waiter;
    this.#last = waiter;
    this.#length++;
    if (this.#admitting || this.#head !== undefined || this.#first !== waiter || !this.#admits(waiter.mode))
      return false;
    this.#makeHead(waiter);
    return true;
  }

  /** The head has the lock: from now on it is a holder. */
  acquired(waiter: Waiter): void {
    if (this.#head !== waiter) throw new Error('acquired: not the head of this queue');
    this.#head = undefined;
    waiter.place = 'out';
    this.hold(waiter.mode);
    this.#admit();
  }

  /** Cancels, from whatever place. */
  leave(waiter: Waiter): void {
    if (waiter.place === 'head') this.#head = undefined;
    else if (waiter.place === 'waiting') this.#unlink(waiter);
    waiter.place = 'out';
    this.#admit();
  }

  /** A holder has released the lock. */
  released(mode: LockMode): void {
    if (mode === 'shared') this.#readers--;
    else this.#writer = false;
    if (this.#first !== undefined) this.#admit();
  }

  /** Holders give way to others, and no waiter is admitted in between. */
  exchange<T>(change: () => T): T {
    const before = this.#admitting;
    this.#admitting = true;
    try {
      return change();
    } finally {
      this.#admitting = before;
      this.#admit();
    }
  }

  /** All waiters, in the order of service. */
  *[Symbol.iterator](): Generator<Waiter> {
    if (this.#head !== undefined) yield this.#head;
    for (let waiter = this.#first; waiter !== undefined; waiter = waiter.next) yield waiter;
  }

  #admits(mode: LockMode): boolean {
    return !this.#writer && (mode === 'shared' || this.#readers === 0);
  }

  /** A loop, not a recursion: a thousand waiters that all fail as soon as they are the head must not fill the stack. */
  #admit(): void {
    if (this.#admitting) return;
    this.#admitting = true;
    for (
      let next = this.#first;
      next !== undefined && this.#head === undefined && this.#admits(next.mode);
      next = this.#first
    ) {
      this.#makeHead(next);
      next.onHead();
    }
    this.#admitting = false;
  }

  #makeHead(waiter: Waiter): void {
    this.#unlink(waiter);
    waiter.place = 'head';
    this.#head = waiter;
  }

  #unlink(waiter: Waiter): void {
    if (waiter.previous === undefined) this.#first = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === undefined) this.#last = waiter.previous;
    else waiter.next.previous = waiter.previous;
    waiter.previous = undefined;
    waiter.next = undefined;
    this.#length--;
  }
}

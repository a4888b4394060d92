/**
 * The queue in front of a lock: who may hold it, who competes for it, who waits. No clock, no promise, no file.
 *
 *     enter ─▶ [ waiting: first … last ] ─▶ head ──granted──▶ holders ──released──▶
 *                     └──── leave ────┘       └── leave
 *
 * The head is the one waiter whose turn has come and who competes beyond the queue (for the kernel's lock).
 * Three rules make it strict: only the first in line becomes head, there is one head at a time, and whoever
 * comes while anybody waits goes to the end of the line. Between two calls the queue is never free while
 * somebody could be admitted, so there is no moment at which a newcomer can slip in.
 */
export abstract class Waiter {
  abstract readonly shared: boolean;
  /** @internal */ place: 'out' | 'waiting' | 'head' = 'out';
  /** @internal */ previous: Waiter | undefined = undefined;
  /** @internal */ next: Waiter | undefined = undefined;

  /** Its turn has come. Answers, now or later, with `queue.granted(this)` or `queue.leave(this)`. */
  abstract onTurn(): void;
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

  get heldShared(): boolean {
    return this.#readers > 0;
  }

  /** Whether a request that came now would be served at once. */
  isFree(shared: boolean): boolean {
    return this.#first === undefined && this.#head === undefined && this.#isOpen(shared);
  }

  /** Takes part as a holder without having waited. Only right after `isFree(shared)`. */
  hold(shared: boolean): void {
    if (shared) this.#readers++;
    else this.#writer = true;
  }

  enter(waiter: Waiter): void {
    waiter.place = 'waiting';
    waiter.previous = this.#last;
    if (this.#last === undefined) this.#first = waiter;
    else this.#last.next = waiter;
    this.#last = waiter;
    this.#length++;
    this.#admit();
  }

  /** The head has the lock: from now on it is a holder. */
  granted(waiter: Waiter): void {
    if (this.#head !== waiter) throw new Error('granted: not the head of this queue');
    this.#head = undefined;
    waiter.place = 'out';
    this.hold(waiter.shared);
    this.#admit();
  }

  /** Gives up, from wherever it stands. */
  leave(waiter: Waiter): void {
    if (waiter.place === 'head') this.#head = undefined;
    else if (waiter.place === 'waiting') this.#unlink(waiter);
    waiter.place = 'out';
    this.#admit();
  }

  /** A holder is done. */
  released(shared: boolean): void {
    if (shared) this.#readers--;
    else this.#writer = false;
    if (this.#first !== undefined) this.#admit();
  }

  /** Holders give way to others, and nobody is admitted in between. */
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

  /** Everybody who waits, in the order of service. */
  *[Symbol.iterator](): Generator<Waiter> {
    if (this.#head !== undefined) yield this.#head;
    for (let waiter = this.#first; waiter !== undefined; waiter = waiter.next) yield waiter;
  }

  #isOpen(shared: boolean): boolean {
    return !this.#writer && (shared || this.#readers === 0);
  }

  /** A loop, not a recursion: a thousand waiters that all fail in their turn must not fill the stack. */
  #admit(): void {
    if (this.#admitting) return;
    this.#admitting = true;
    for (
      let next = this.#first;
      next !== undefined && this.#head === undefined && this.#isOpen(next.shared);
      next = this.#first
    ) {
      this.#unlink(next);
      next.place = 'head';
      this.#head = next;
      next.onTurn();
    }
    this.#admitting = false;
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

/**
 * The tickets of `fairness: 'fifo'` on Windows. They are the same bytes as elsewhere (native-fallback/src/ticket.h), but
 * what is locked cannot be asked there: only a try tells, and it locks for a moment. So the search for a free ticket is
 * one try for each step, under the lock of the last byte, and a request learns by a shared try on all earlier bytes
 * whether it is the first. No such try gets bytes that hold a ticket, so none makes another request lose its place; one
 * that fails since another process is trying at that moment is taken for a longer queue than there is, no more.
 *
 * Only the order depends on all this: the lock itself is that of the lock file.
 */
import { readSync, writeSync } from 'node:fs';
import { CONTENDED, FIRST, GRANTED } from '../addon.js';

const MAGIC = 'fairlock-queue 2';
const HEADER_BYTES = MAGIC.length + 8;
const BASE = 4096;
const LAST = 2 ** 52 - 1;
const MOST = 2 ** 51;
/** Tries that are contended by other tries. */
const TRIES = 1000;

/** Locks of bytes of one open file. Statuses: GRANTED, CONTENDED or, below zero, a negated errno. */
export interface ByteLocks {
  readonly fd: number;
  tryBytes(shared: boolean, from: number, length: number): number;
  unlockBytes(from: number, length: number): void;
}

export interface Bytes {
  readonly shared: boolean;
  readonly from: number;
  readonly length: number;
}

/** Locked by the process that takes a ticket. */
export const TAKING: Bytes = { shared: false, from: LAST, length: 1 };

export class WindowsTicket {
  /** Undefined: none. */
  #number: number | undefined;
  #isFirst = false;

  constructor(private readonly locks: ByteLocks) {}

  get isTaken(): boolean {
    return this.#number !== undefined;
  }

  /** FIRST, GRANTED, or CONTENDED: another process is taking one. */
  tryTake(): number {
    const status = this.locks.tryBytes(false, LAST, 1);
    return status === GRANTED ? this.take() : status;
  }

  /** With `TAKING` locked, which ends here. */
  take(): number {
    const { locks } = this;
    try {
      const number = this.#free();
      let status = CONTENDED;
      for (let tries = 0; status === CONTENDED && tries < TRIES; tries++)
        status = locks.tryBytes(false, BASE + number, 1);
      if (status !== GRANTED) return status;
      if (number > 0) this.#writeGuess(number + 1);
      this.#number = number;
      this.#isFirst = number === 0;
      return this.#isFirst ? FIRST : GRANTED;
    } finally {
      locks.unlockBytes(LAST, 1);
    }
  }

  drop(): void {
    if (this.#number === undefined) return;
    this.locks.unlockBytes(BASE + this.#number, 1);
    this.#number = undefined;
    this.#isFirst = false;
  }

  /** GRANTED: there is no earlier ticket, and will be none; without a ticket: there is none at all. */
  first(): number {
    if (this.#isFirst) return GRANTED;
    const status = this.#probe(true, 0, this.#number ?? LAST - BASE);
    this.#isFirst = status === GRANTED && this.#number !== undefined;
    return status;
  }

  /** The bytes to wait for: those of the last ticket before this one. */
  predecessor(): Bytes {
    const number = this.#number ?? 0;
    // Free from `above` on, and not from `below` on.
    let above = number;
    let below = number - 1;
    for (let step = 1; below > 0 && this.#probe(true, below, number) === GRANTED; step *= 2) {
      above = below;
      below = Math.max(0, below - step);
    }
    while (above - below > 1) {
      const middle = Math.floor((above + below) / 2);
      if (this.#probe(true, middle, number) === GRANTED) above = middle;
      else below = middle;
    }
    return { shared: true, from: BASE + below, length: 1 };
  }

  /** GRANTED: the bytes of the tickets from `first` on and before `end` could be locked, and are not any more. */
  #probe(shared: boolean, first: number, end: number): number {
    const status = this.locks.tryBytes(shared, BASE + first, end - first);
    if (status === GRANTED) this.locks.unlockBytes(BASE + first, end - first);
    return status;
  }

  /** The number after all tickets: 0 if there is none, else the guess of the file, or what a search finds. */
  #free(): number {
    const isFreeFrom = (number: number): boolean => this.#probe(false, number, LAST - BASE) === GRANTED;
    if (isFreeFrom(0)) return 0;
    const guess = this.#readGuess();
    if (isFreeFrom(guess)) return guess;
    let step = 1;
    while (guess + step < MOST && !isFreeFrom(guess + step)) step *= 2;
    let free = guess + step;
    let taken = guess + Math.floor(step / 2);
    while (free - taken > 1) {
      const middle = Math.floor((free + taken) / 2);
      if (isFreeFrom(middle)) free = middle;
      else taken = middle;
    }
    return free;
  }

  #readGuess(): number {
    const header = Buffer.alloc(HEADER_BYTES);
    const isOurs =
      readSync(this.locks.fd, header, 0, HEADER_BYTES, 0) === HEADER_BYTES &&
      header.toString('latin1', 0, MAGIC.length) === MAGIC;
    const guess = isOurs ? Number(header.readBigInt64LE(MAGIC.length)) : 1;
    return guess > 0 && guess < MOST ? guess : 1;
  }

  /** Nothing depends on it but speed, so a disk that is full is no reason to fail. */
  #writeGuess(next: number): void {
    const { fd } = this.locks;
    const header = Buffer.alloc(HEADER_BYTES);
    try {
      const size = readSync(fd, header, 0, HEADER_BYTES, 0);
      // The content of another program is never written.
      if (size !== 0 && header.toString('latin1', 0, MAGIC.length) !== MAGIC) return;
      header.write(MAGIC, 'latin1');
      header.writeBigInt64LE(BigInt(next), MAGIC.length);
      writeSync(fd, header, 0, HEADER_BYTES, 0);
    } catch {
      // See above.
    }
  }
}

/** All bytes of tickets: a process that has them locked knows that no request is queued. */
export const ALL_TICKETS: Bytes = { shared: false, from: BASE, length: LAST - BASE + 1 };

/**
 * The permits of a semaphore: byte-range locks on one file.
 *
 *     bytes 0 … permits-1        one permit each, held exclusively by who has it
 *     byte 1000 + permits        held shared by holders and waiters: says how many permits they think there are
 *
 * Whoever takes part first holds its own number and then looks at the others': of two that disagree at least one sees
 * the other and refuses. Every holder and every wait has an open file of its own, and closing it gives all of it back.
 */

import type { Grant, Granted, Mechanism } from '../../core/backend.js';
import { codeOf, LockLostError, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { MOST_PERMITS, PERMIT_NUMBERS } from '../../files/byte-layout.js';
import {
  isCurrent,
  type LockFileOptions,
  type OpenFile,
  openLockFile,
  statAt,
  withDescriptors,
} from '../../files/lock-file.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import { type Looking, type Parties, semaphoreAt } from '../../inspect/proc-locks.js';
import { GRANTED, type NativeFallback, type NativeFile, NativeWait, REPLACED } from '../../native/addon.js';
import { clearImmediate, setImmediate } from '../../timers.js';
import type { Ticket, TicketQueue } from '../fifo/ticket-queue.js';
import { poll, pollSync } from '../poll.js';
import { lockRefused, NO_LOCKS_HERE } from './kernel-backend.js';
import { NO_TICKETS } from './lock-calls.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';

const ATTEMPTS = 100;

export class Permits implements Mechanism {
  readonly name = 'fcntl';
  readonly layers = { lock: 'native-fallback', wait: 'native-fallback' } as const;

  constructor(
    readonly file: LockFileOptions,
    readonly permits: number,
    private readonly addon: NativeFallback,
    private tickets: TicketQueue | undefined,
    /** Whether to go on without strict order where the sidecar cannot be had. */
    private readonly ticketsOptional: boolean,
  ) {}

  get sidecar(): string | undefined {
    return this.tickets?.sidecar;
  }

  get fairness(): 'kernel' | 'fifo' {
    return this.tickets === undefined ? 'kernel' : 'fifo';
  }

  join(): Ticket | undefined {
    const ticket = this.tickets?.join(false);
    if (ticket?.failure === undefined || !this.#doesWithoutTickets(ticket.failure)) return ticket;
    ticket.leave();
    return undefined;
  }

  tryLock(_shared: boolean, ticket?: Ticket): Grant | null {
    if (ticket !== undefined)
      return ticket.line !== undefined && this.#isFirst(ticket.line) ? this.#tryEach(ticket) : null;
    const grant = this.#tryEach();
    // Queued requests come first; looked for after the permit is ours, so that none is queued unseen.
    try {
      if (grant === null || this.tickets === undefined || this.tickets.isEmpty()) return grant;
    } catch (error) {
      if (this.#doesWithoutTickets(error)) return grant;
      grant?.unlock();
      throw error;
    }
    grant.unlock();
    return null;
  }

  /** No permit is free. */
  isLocked(): boolean {
    if (statAt(this.file.path, this.file.followSymlinks) === undefined) return false; // A question makes no file.
    const file = openLockFile(this.file);
    try {
      for (let permit = 0; permit < this.permits; permit++) {
        const status = this.addon.isLocked(this.#range(file, permit, 1));
        if (status < 0) this.#fail(status);
        if (status === GRANTED) return false;
      }
      return true;
    } finally {
      file.close();
    }
  }

  look(): Looking<Parties | undefined> {
    return semaphoreAt(this.file.path, this.file.followSymlinks);
  }

  wait(_shared: boolean, granted: Granted, ticket?: Ticket): () => void {
    let withdraw: () => void = () => {};
    const step = (next: () => void): void => {
      try {
        next();
      } catch (error) {
        granted(error as Error);
      }
    };
    const forPermit = (): void => {
      const grant = this.#tryEach(ticket);
      if (grant !== null) return granted(undefined, grant);
      const onPermit: Granted = (error, parked) =>
        step(() => this.#onPermit(forPermit, granted, ticket, error, parked));
      try {
        withdraw = this.#parkOnEach(onPermit);
      } catch (error) {
        if (codeOf(error) !== 'EAGAIN') throw error;
        withdraw = poll(() => this.#tryEach(ticket), granted); // There are not enough threads to wait on.
      }
    };
    const forTurn = (): void => {
      const line = ticket?.line;
      if (ticket === undefined || line === undefined) return forPermit();
      ticket.park();
      const onTurn = (status: number): void => step(() => (status === GRANTED ? forPermit() : this.#fail(status)));
      try {
        const start = (): NativeWait =>
          new NativeWait(this.addon, { line }, false, (errno) => systemError(errno, 'fcntl', this.file.path), onTurn);
        const wait = withDescriptors(start);
        withdraw = () => wait.cancel();
      } catch (error) {
        if (codeOf(error) !== 'EAGAIN') throw error;
        withdraw = poll(() => this.tryLock(true, ticket), granted); // There is no thread to wait on.
      }
    };
    if (ticket !== undefined && ticket.line === undefined) ticket.whenReady(() => step(forTurn));
    else forTurn();
    return () => withdraw();
  }

  waitSync(_shared: boolean, timeout: number): Grant | null {
    return pollSync(() => this.tryLock(true), timeout);
  }

  dispose(): void {
    this.tickets?.dispose();
  }

  /** No grant: the permit was one of a file that was removed or replaced meanwhile. */
  #onPermit(
    again: () => void,
    granted: Granted,
    ticket: Ticket | undefined,
    error: Error | undefined,
    grant: Grant | undefined,
  ): void {
    if (error !== undefined) throw error;
    if (grant === undefined) return again();
    this.#passTurn(ticket);
    granted(undefined, grant);
  }

  #isFirst(line: NativeFile): boolean {
    const status = this.addon.isFirst(line);
    if (status < 0) this.#fail(status);
    return status === GRANTED;
  }

  #passTurn(ticket: Ticket | undefined): void {
    if (ticket?.line === undefined) return;
    this.addon.drop(ticket.line);
    ticket.granted();
  }

  #tryEach(ticket?: Ticket): Grant | null {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const file = this.#open();
      try {
        const status = this.#tryPermits(file);
        if (status === 'replaced') file.close();
        else if (status === 'none') {
          file.close();
          return null;
        } else {
          this.#passTurn(ticket);
          return new Permit(this.file, file, this.addon, status);
        }
      } catch (error) {
        file.close();
        throw error;
      }
    }
    throw new LockUnsupportedError(
      this.file.path,
      `its file was replaced ${ATTEMPTS} times in a row between open and lock`,
    );
  }

  /** The number of the permit. */
  #tryPermits(file: OpenFile): number | 'none' | 'replaced' {
    if (!this.#announce(file)) return 'replaced';
    for (let permit = 0; permit < this.permits; permit++) {
      file.native = this.#range(file, permit, 1);
      const status = this.addon.tryLock(file.native, false);
      if (status < 0) this.#fail(status);
      if (status === REPLACED) return 'replaced';
      if (status === GRANTED) return permit;
    }
    return 'none';
  }

  /** A thread for each permit; the first that is granted wins, and the others are called off. */
  #parkOnEach(onPermit: Granted): () => void {
    const waits: ParkedWait[] = [];
    const callOff = (): void => {
      for (const wait of waits.splice(0)) wait.cancel();
    };
    const onOutcome = (permit: number, outcome: ParkOutcome): void => {
      callOff();
      if ('error' in outcome) onPermit(this.#explained(outcome.error));
      else onPermit(undefined, outcome.current ? new Permit(this.file, outcome.file, this.addon, permit) : undefined);
    };
    try {
      for (let permit = 0; permit < this.permits; permit++) {
        const wait = this.#park(permit, (outcome) => onOutcome(permit, outcome));
        if (wait !== undefined) waits.push(wait);
      }
    } catch (error) {
      callOff();
      throw error;
    }
    if (waits.length > 0) return callOff;
    const again = setImmediate(() => onPermit(undefined));
    return () => clearImmediate(again);
  }

  /** Undefined: its file was replaced while it was opened. */
  #park(permit: number, onOutcome: (outcome: ParkOutcome) => void): ParkedWait | undefined {
    const file = this.#open();
    try {
      if (this.#announce(file)) {
        file.native = this.#range(file, permit, 1);
        return withDescriptors(
          () => new ParkedWait(this.addon, file, undefined, false, '', 'fcntl', this.file.path, onOutcome),
        );
      }
    } catch (error) {
      file.close();
      throw error;
    }
    file.close();
    return undefined;
  }

  /** Says how many permits there are, and looks whether somebody says otherwise. False: not the file at the path. */
  #announce(file: OpenFile): boolean {
    const status = this.addon.tryLock(this.#range(file, PERMIT_NUMBERS + this.permits, 1), true);
    if (status < 0) this.#fail(status);
    if (status === REPLACED) return false;
    const below = this.#range(file, PERMIT_NUMBERS, this.permits);
    const above = this.#range(file, PERMIT_NUMBERS + this.permits + 1, MOST_PERMITS);
    for (const others of [below, above]) {
      const found = this.addon.conflict(others);
      if (found === undefined) continue;
      if (found < 0) this.#fail(found);
      throw new LockMismatchError(
        this.file.path,
        `another process uses it as a semaphore of ${found - PERMIT_NUMBERS} permits, not of ${this.permits}`,
      );
    }
    return true;
  }

  #open(): OpenFile {
    return openLockFile(this.file, { access: 'write' });
  }

  #range(file: OpenFile, start: number, length: number): NativeFile {
    return this.addon.file(file.fd, this.file.path, this.file.followSymlinks, true, start, length);
  }

  #fail(status: number): never {
    throw this.#explained(systemError(-status, 'fcntl', this.file.path));
  }

  #explained(error: Error): Error {
    const code = codeOf(error) ?? '';
    return NO_LOCKS_HERE.has(code)
      ? new LockUnsupportedError(this.file.path, lockRefused('fcntl', code), error)
      : error;
  }

  #doesWithoutTickets(error: unknown): boolean {
    if (!this.ticketsOptional || !NO_TICKETS.has(codeOf(error) ?? '')) return false;
    this.tickets = undefined;
    return true;
  }
}

class Permit implements Grant {
  constructor(
    private readonly options: LockFileOptions,
    private readonly file: OpenFile,
    private readonly addon: NativeFallback,
    readonly permit: number,
  ) {}

  get fd(): number {
    return this.file.fd;
  }

  unlock(): void {
    this.file.unlockAndClose(this.addon);
  }

  watch(lost: (error: Error) => void): () => void {
    const gone = (): void => lost(new LockLostError(this.options.path, 'its file was removed or replaced'));
    return watchForLoss(this.options.path, () => isCurrent(this.options, this.file), gone);
  }
}

/** `LockFileEx` in the shape of the addon of other systems: what locks, semaphores and the queue of all processes need. */
import { fstatSync, unlinkSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import { builtins } from '../../require.js';
import { Deadline, setImmediate } from '../../timers.js';
import { CONTENDED, type FileHandle, GRANTED, type LockAddon, type LockFileEx, REMOVED, REPLACED } from '../addon.js';
import { handleOf, ifAtPath, OpenHandle, statusOf } from './open-handle.js';
import { ALL_TICKETS } from './tickets.js';
import { Wait } from './wait.js';

/** Far behind all content: what is locked can be neither read nor written by others. */
const WHOLE_FILE = { start: 2 ** 62, length: 1 };

const addons = new WeakMap<LockFileEx, LockAddon>();

/** One for each binary, since its waits have numbers. */
export function asAddon(api: LockFileEx): LockAddon {
  const known = addons.get(api) ?? new LockFileExAddon(api);
  addons.set(api, known);
  return known;
}

class LockFileExAddon implements LockAddon {
  readonly hasOfd = true; // Its locks of bytes belong to the handle, as those do.
  readonly limits = {
    steal: 'on Windows a file that is open cannot be replaced',
    inherit: 'on Windows no process inherits a lock', // A child inherits a descriptor, and its handle has no lock.
    directories: 'on Windows a directory cannot be locked',
  };
  #waits = 0;
  readonly #byNumber = new Map<number, Wait>();
  readonly #numbers = new Map<Wait, number>();
  readonly #callbacks = new Map<number, (wait: number, status: number) => void>();
  /** By the numbers of their calls. */
  readonly #byCall = new Map<number, Wait>();

  constructor(private readonly api: LockFileEx) {}

  file(fd: number, path: string, follow: boolean, isRange: boolean, from: number, count: number): FileHandle {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const { start, length } = isRange ? { start: from, length: count } : WHOLE_FILE;
    return new OpenHandle(this.api, fd, path, follow, start, length, dev, ino) as unknown as FileHandle;
  }

  isCurrent(file: FileHandle): number {
    return handleOf(file).isAtPath ? GRANTED : REPLACED;
  }

  tryLock(file: FileHandle, shared: boolean): number {
    return ifAtPath(handleOf(file), handleOf(file).try(shared));
  }

  unlock(file: FileHandle): number {
    return handleOf(file).unlock();
  }

  /** There is no such question: it is tried, exclusively, which tells of shared ones too. */
  isLocked(file: FileHandle): number {
    const status = handleOf(file).try(false);
    if (status === GRANTED) handleOf(file).unlock();
    return status;
  }

  isProbed(): undefined {}

  /** Byte by byte: there are as many as permits. */
  conflict(file: FileHandle): number | undefined {
    const handle = handleOf(file);
    for (let byte = handle.start; byte < handle.start + handle.length; byte++) {
      const status = handle.tryBytes(false, byte, 1);
      if (status < 0) return status;
      if (status !== GRANTED) return byte;
      handle.unlockBytes(byte, 1);
    }
    return undefined;
  }

  // --- tickets ---

  takeTicket(sidecar: FileHandle): number {
    const handle = handleOf(sidecar);
    const status = handle.ticket.tryTake();
    if (status < 0 || status === CONTENDED || handle.isAtPath) return status;
    handle.ticket.drop();
    return REPLACED;
  }

  isFirst(sidecar: FileHandle): number {
    const handle = handleOf(sidecar);
    return handle.ticket.isTaken || handle.isAtPath ? handle.ticket.first() : REMOVED;
  }

  tryIfQueueEmpty(file: FileHandle, probe: FileHandle, shared: boolean): number {
    const queue = this.isFirst(probe);
    return queue === GRANTED ? this.tryLock(file, shared) : queue;
  }

  tryIfFirst(file: FileHandle, sidecar: FileHandle, shared: boolean): number {
    const queue = this.isFirst(sidecar);
    if (queue !== GRANTED) return queue;
    const status = this.tryLock(file, shared);
    if (status === GRANTED) handleOf(sidecar).ticket.drop();
    return status;
  }

  /** Of a cancelled request, whose wait is about to be cancelled: the ticket goes with the handle, which is closed then. */
  dropTicket(sidecar: FileHandle): void {
    if (!handleOf(sidecar).isBusy) handleOf(sidecar).ticket.drop();
  }

  removeSidecar(sidecar: FileHandle): number {
    const handle = handleOf(sidecar);
    const status = handle.tryBytes(false, ALL_TICKETS.from, ALL_TICKETS.length);
    if (status !== GRANTED) return status;
    try {
      if (!handle.isAtPath) return REPLACED;
      unlinkSync(handle.path);
      return GRANTED;
    } catch (error) {
      return -(errnoOf(error) ?? builtins.errno.EIO);
    } finally {
      handle.unlockBytes(ALL_TICKETS.from, ALL_TICKETS.length);
    }
  }

  // --- waits ---

  connect(callback: (wait: number, status: number) => void): number {
    const { api } = this;
    const client = api.connect(() => {
      for (let call = api.ended(client); call >= 0; call = api.ended(client)) {
        const wait = this.#byCall.get(call);
        const status = statusOf(api.end(call));
        this.#byCall.delete(call);
        if (wait === undefined) continue;
        const end = wait.isCancelled ? wait.cancelled(status) : this.#goOn(wait, status);
        if (end !== undefined) this.#tell(client, wait, end);
      }
    });
    this.#callbacks.set(client, callback);
    return client;
  }

  wait(client: number, file: FileHandle | undefined, sidecar: FileHandle | undefined, shared: boolean): number {
    return this.#begin(this.api.wait, client, file, sidecar, shared);
  }

  waitSync(client: number, file: FileHandle, sidecar: FileHandle | undefined, shared: boolean): number {
    return this.#begin(this.api.waitSync, client, file, sidecar, shared);
  }

  waitForTicket(client: number, sidecar: FileHandle, shared: boolean): number {
    return this.#begin(this.api.wait, client, undefined, sidecar, shared, true);
  }

  join(number: number, ms: number): number | undefined {
    const deadline = new Deadline(ms);
    const wait = this.#byNumber.get(number) as Wait;
    for (;;) {
      const told = this.api.join(wait.call, deadline.left);
      if (told === undefined) return undefined;
      this.#byCall.delete(wait.call);
      const status = this.#goOn(wait, statusOf(told));
      if (status === undefined) continue;
      this.#forget(wait);
      return status;
    }
  }

  cancel(number: number): number | undefined {
    const wait = this.#byNumber.get(number);
    if (wait === undefined) return -builtins.errno.ECANCELED;
    wait.isCancelled = true;
    const told = wait.call < 0 ? -1 : this.api.cancel(wait.call);
    if (told === undefined) return undefined;
    this.#byCall.delete(wait.call);
    this.#forget(wait);
    return wait.cancelled(statusOf(told));
  }

  #begin(
    start: LockFileEx['wait'],
    client: number,
    file: FileHandle | undefined,
    sidecar: FileHandle | undefined,
    shared: boolean,
    isTicketOnly = false,
  ): number {
    const block = (handle: OpenHandle, isShared: boolean, from: number, length: number): number =>
      start(handle.fd, isShared, from, length, client);
    const [lock, queue] = [file && handleOf(file), sidecar && handleOf(sidecar)];
    const wait = new Wait(lock, queue, shared, isTicketOnly, block);
    const number = ++this.#waits;
    const status = this.#goOn(wait, GRANTED);
    if (status !== undefined && status < 0) return status;
    this.#byNumber.set(number, wait);
    this.#numbers.set(wait, number);
    // A turn that has come already is told of later all the same.
    if (status !== undefined) setImmediate(() => this.#tell(client, wait, status));
    return number;
  }

  #goOn(wait: Wait, status: number): number | undefined {
    const end = wait.next(status);
    if (end === undefined) this.#byCall.set(wait.call, wait);
    return end;
  }

  /** Unless it was cancelled meanwhile, and has told its end by that. */
  #tell(client: number, wait: Wait, status: number): void {
    const number = this.#numbers.get(wait);
    if (number === undefined) return;
    this.#forget(wait);
    this.#callbacks.get(client)?.(number, status);
  }

  #forget(wait: Wait): void {
    const number = this.#numbers.get(wait);
    this.#numbers.delete(wait);
    if (number !== undefined) this.#byNumber.delete(number);
  }
}

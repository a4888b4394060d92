/**
 * `LockFileEx` in the shape of the addon of other systems: what locks, semaphores and the queue of all processes need of
 * it. A handle of its own has a lock, and the system takes it back with the handle, however the process ends.
 */
import { fstatSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoOf, LockUnsupportedError } from '../errors.js';
import { setImmediate } from '../timers.js';
import {
  type Addon,
  CONTENDED,
  type FileHandle,
  GRANTED,
  type LockFileEx,
  loadAddon,
  loadLockFileEx,
  needByteRanges,
  REMOVED,
  REPLACED,
} from './addon.js';
import type { Loaded } from './loader.js';
import { ALL_TICKETS, type ByteLocks, type Bytes, TAKING, WindowsTicket } from './windows-tickets.js';

const { EIO, EACCES, EBADF, EAGAIN, ENOTSUP, ECANCELED } = constants.errno;

/** The errors of Windows that tell something; the others are EIO. */
const ERRNO = new Map([
  [1, ENOTSUP], // ERROR_INVALID_FUNCTION: a file system without locks
  [5, EACCES],
  [6, EBADF],
  [8, EAGAIN], // no thread, or no memory for one
  [50, ENOTSUP],
  [995, ECANCELED],
]);
const statusOf = (told: number): number => (told >= 0 ? told : -(ERRNO.get(-told) ?? EIO));
/** Far behind all content: what is locked can be neither read nor written by others. */
const WHOLE_FILE = { start: 2 ** 62, length: 1 };

const addons = new WeakMap<LockFileEx, Addon>();

/** One for each binary, since its waits have numbers. */
export function asAddon(api: LockFileEx): Addon {
  const known = addons.get(api) ?? (new LockFileExAddon(api) as Partial<Addon> as Addon);
  addons.set(api, known);
  return known;
}

/** The addon, for locks and waits and nothing else. */
export function loadLocks(): Loaded<Addon> {
  if (process.platform !== 'win32') return loadAddon();
  const { api, reason } = loadLockFileEx();
  return api === undefined ? { reason } : { api: asAddon(api) };
}

/** The addon, for locks of bytes. @throws {LockUnsupportedError} */
export function needRangeLocks(path: string, what: string): Addon {
  if (process.platform !== 'win32') return needByteRanges(path, what);
  const { api, reason } = loadLocks();
  if (api !== undefined) return api;
  throw new LockUnsupportedError(path, `${what} needs the addon native-fallback, which did not load: ${reason}`);
}

/** An open file, as `file` returns it. */
class OpenHandle implements ByteLocks {
  /** Of a sidecar. */
  readonly ticket = new WindowsTicket(this);
  /** A thread's call blocks on it. Windows makes every other call on it wait for that one. */
  isBusy = false;

  constructor(
    private readonly api: LockFileEx,
    readonly fd: number,
    readonly path: string,
    private readonly follow: boolean,
    readonly start: number,
    readonly length: number,
    private readonly dev: bigint,
    private readonly ino: bigint,
  ) {}

  get isAtPath(): boolean {
    const stat = (this.follow ? statSync : lstatSync)(this.path, { bigint: true, throwIfNoEntry: false });
    return stat !== undefined && stat.dev === this.dev && stat.ino === this.ino;
  }

  try(shared: boolean): number {
    return statusOf(this.api.tryLock(this.fd, shared, this.start, this.length));
  }

  unlock(): number {
    return statusOf(this.api.unlock(this.fd, false, this.start, this.length));
  }

  tryBytes(shared: boolean, from: number, length: number): number {
    return statusOf(this.api.tryLock(this.fd, shared, from, length));
  }

  unlockBytes(from: number, length: number): void {
    this.api.unlock(this.fd, false, from, length);
  }
}

const handleOf = (handle: FileHandle): OpenHandle => handle as unknown as OpenHandle;
const ifAtPath = (file: OpenHandle, status: number): number => (status < 0 || file.isAtPath ? status : REPLACED);

/** A wait, in up to three steps, each of which is one call that blocks: for a ticket, for its turn, for the lock. */
class Wait {
  isCancelled = false;
  /** The number of the call. */
  call = -1;
  #doing: 'nothing' | 'taking' | 'turn' | 'lock' = 'nothing';
  #busy: OpenHandle | undefined;
  #turn: Bytes = TAKING;

  constructor(
    private readonly file: OpenHandle | undefined,
    private readonly sidecar: OpenHandle | undefined,
    private readonly shared: boolean,
    private readonly isTicketOnly: boolean,
    private readonly block: (file: OpenHandle, shared: boolean, start: number, length: number) => number,
  ) {}

  /** Goes on after the call has ended with `status`. Its own status at its end; undefined: the next call goes on. */
  next(status: number): number | undefined {
    this.#idle();
    if (status !== GRANTED || this.isCancelled) return status;
    const { file, sidecar } = this;
    if (this.#doing === 'lock') return this.#end(file as OpenHandle);
    if (sidecar !== undefined) {
      if (this.#doing === 'taking') {
        const taken = sidecar.ticket.take();
        if (taken < 0 || taken === CONTENDED) return taken === CONTENDED ? -EAGAIN : taken;
        if (!sidecar.isAtPath) return REPLACED;
      }
      if (this.#doing === 'turn') sidecar.unlockBytes(this.#turn.from, this.#turn.length);
      if (!sidecar.ticket.isTaken) return this.#start('taking', sidecar, TAKING);
      if (this.isTicketOnly) return GRANTED;
      const first = sidecar.ticket.first();
      if (first < 0) return first;
      if (first !== GRANTED) {
        this.#turn = sidecar.ticket.predecessor();
        return this.#start('turn', sidecar, this.#turn);
      }
    }
    if (file === undefined) return GRANTED;
    return this.#start('lock', file, { shared: this.shared, from: file.start, length: file.length });
  }

  /** The call has ended. */
  #idle(): void {
    if (this.#busy !== undefined) this.#busy.isBusy = false;
    this.#busy = undefined;
  }

  #start(doing: 'taking' | 'turn' | 'lock', file: OpenHandle, { shared, from, length }: Bytes): number | undefined {
    this.#doing = doing;
    const call = this.block(file, shared, from, length);
    if (call < 0) return statusOf(call);
    this.call = call;
    this.#busy = file;
    file.isBusy = true;
    return undefined;
  }

  /** Passes the turn: the next request waits for the lock while its holder works. */
  #end(file: OpenHandle): number {
    const status = ifAtPath(file, GRANTED);
    if (status === GRANTED) this.sidecar?.ticket.drop();
    return status;
  }

  /** The status of a wait that was cancelled, whose call has ended with `status`. */
  cancelled(status: number): number {
    this.#idle();
    return this.#doing === 'lock' && status === GRANTED ? this.#end(this.file as OpenHandle) : -ECANCELED;
  }
}

class LockFileExAddon {
  readonly hasOfd = true; // Its locks of bytes belong to the handle, as those do.
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

  isProbed(): boolean {
    return false;
  }

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
      return -(errnoOf(error) ?? EIO);
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
    const end = performance.now() + ms;
    const wait = this.#byNumber.get(number) as Wait;
    for (;;) {
      const told = this.api.join(wait.call, Math.max(0, end - performance.now()));
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
    if (wait === undefined) return -ECANCELED;
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

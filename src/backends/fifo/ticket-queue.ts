/**
 * Strict order between processes: a ticket for every request, drawn when it is made. The tickets of all processes are
 * byte locks on one sidecar file (native-fallback/src/ticket.h has the system calls, docs/fairness.md the argument).
 * Here: which of this thread's requests has a ticket, and what becomes of it.
 */
import { lstatSync } from 'node:fs';
import { constants } from 'node:os';
import type { FifoQueue } from '../../core/fifo-queue.js';
import { codeOf, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { besides, canonicalPath } from '../../files/canonical-path.js';
import { IdleFiles } from '../../files/descriptor-cache.js';
import { type LockFileOptions, type OpenFile, openLockFile, withDescriptors } from '../../files/lock-file.js';
import {
  CONTENDED,
  GRANTED,
  type NativeFallback,
  type NativeFile,
  NativeWait,
  REMOVED,
  REPLACED,
} from '../../native/addon.js';
import { clearTimeout, setTimeout } from '../../timers.js';

/** Tickets that one thread has drawn ahead: many of them would make the kernel's list of locks long. */
const AHEAD = 16;
/** A sidecar that is replaced between open and draw this often in a row is not replaced by bad luck. */
const DRAW_ATTEMPTS = 100;
/** Where there is no thread to wait on, a ticket that another process was taking is tried for again after so many ms. */
const DRAW_AGAIN_MS = 1;

export function sidecarOf(canonical: string): string {
  return besides(canonical, 'queue');
}

/** One per path and thread, like the queue of its waiters. */
const ofQueue = new WeakMap<FifoQueue, TicketQueue>();

export function ticketQueueOf(
  queue: FifoQueue,
  canonical: string,
  options: LockFileOptions,
  addon: NativeFallback,
): TicketQueue {
  const tickets = ofQueue.get(queue) ?? new TicketQueue(canonical, options, addon);
  ofQueue.set(queue, tickets);
  return tickets;
}

export class TicketQueue {
  readonly #idle = new IdleFiles();
  /** Requests without a ticket yet, in order of arrival. */
  readonly #undrawn = new Set<Ticket>();
  #ahead = 0;
  #drawing = false;

  readonly sidecar: string;

  constructor(
    private readonly canonical: string,
    /** Of the lock file. */
    private readonly options: LockFileOptions,
    readonly addon: NativeFallback,
  ) {
    this.sidecar = sidecarOf(canonical);
  }

  /** A place at the end of the line. */
  join(shared: boolean): Ticket {
    const ticket = new Ticket(this, shared);
    this.#undrawn.add(ticket);
    this.#draw();
    return ticket;
  }

  /** An open sidecar, to look at the line without standing in it. Given back with `putBack`. */
  open(): OpenFile {
    const idle = this.#idle.take(this.sidecar, true);
    if (idle !== undefined) return idle;
    const { sidecar, addon } = this;
    const { mode, ignoreUmask = false } = this.options;
    const file = openLockFile(
      { path: sidecar, mode, ignoreUmask, followSymlinks: false, makesFolders: () => this.#isWhereItWas() },
      { access: 'write' },
    );
    try {
      file.native = addon.file(file.fd, sidecar, false, true, 0, 0);
      file.keepable = true; // Its content is ours.
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * Whether the lock's path still leads to the folder that it led to when this object was made. A link may have been
   * pointed to another folder meanwhile: then the old one, if it was removed, is not to be made anew.
   */
  #isWhereItWas(): boolean {
    const { path, followSymlinks } = this.options;
    return canonicalPath(path, followSymlinks) === this.canonical;
  }

  putBack(file: OpenFile): void {
    this.#idle.put(this.sidecar, file);
  }

  /** Whether there is a sidecar. */
  exists(): boolean {
    return lstatSync(this.sidecar, { throwIfNoEntry: false }) !== undefined;
  }

  /** Removes the sidecar. Only for the holder of the main lock. False: somebody stands in line. */
  removeSidecar(): boolean {
    if (!this.exists()) return true;
    const file = this.open();
    const status = this.addon.removeSidecar(file.nativeFile);
    file.close();
    this.#idle.clear();
    return status !== CONTENDED;
  }

  /** Why there is no ticket. */
  drawError(errno: number): Error {
    if (errno !== constants.errno.EBUSY) return systemError(errno, 'fcntl', this.sidecar);
    const why = 'another process, which does not take part in the queue, has locked it to its end and leaves no ticket';
    return new LockMismatchError(this.sidecar, why);
  }

  /** Whether nobody stands in line. */
  isEmpty(): boolean {
    const status = this.look((probe) => this.addon.isFirst(probe));
    if (status < 0) throw systemError(-status, 'fcntl', this.sidecar);
    return status === GRANTED;
  }

  /** Asks something of the line, on another sidecar as long as the open one was removed. */
  look(ask: (probe: NativeFile) => number): number {
    for (;;) {
      const probe = this.open();
      const status = ask(probe.nativeFile);
      if (status !== REMOVED) {
        this.putBack(probe);
        return status;
      }
      probe.close();
    }
  }

  dispose(): void {
    this.#idle.clear();
  }

  /** @internal A ticket's place ahead is free again. */
  left(ticket: Ticket, hadPlace: boolean): void {
    this.#undrawn.delete(ticket);
    if (hadPlace) this.#ahead--;
    this.#draw();
  }

  /** One at a time, so that tickets come in the order of the requests. */
  #draw(): void {
    while (!this.#drawing && this.#ahead < AHEAD) {
      const [next] = this.#undrawn;
      if (next === undefined) return;
      this.#undrawn.delete(next);
      this.#ahead++;
      this.#drawing = true;
      next.draw(() => {
        this.#drawing = false;
        this.#draw();
      });
    }
  }
}

/** One request's place in the line of all processes. */
export class Ticket {
  #line: OpenFile | undefined;
  #state: 'undrawn' | 'drawing' | 'drawn' | 'failed' | 'gone' = 'undrawn';
  #error: Error | undefined;
  #drawWait: Pick<NativeWait, 'cancel'> | undefined;
  #onReady: (() => void) | undefined;
  #parked = false;
  #moved = false;
  #done: () => void = () => {};

  constructor(
    private readonly queue: TicketQueue,
    private readonly shared: boolean,
  ) {}

  /** Why it has not got a place. */
  get failure(): Error | undefined {
    return this.#error;
  }

  /** The open sidecar that carries the ticket; undefined while it is being drawn. Throws if that failed. */
  get line(): NativeFile | undefined {
    if (this.#error !== undefined) throw this.#error;
    return this.#state === 'drawn' ? this.#line?.nativeFile : undefined;
  }

  /** Calls back, later, when `line` has something to say. */
  whenReady(callback: () => void): void {
    this.#onReady = callback;
  }

  /** @internal `done` when the next one may draw. */
  draw(done: () => void): void {
    this.#state = 'drawing';
    this.#done = done;
    try {
      this.#tryDraw();
    } catch (error) {
      this.#finish('failed', error as Error);
    }
  }

  /** The lock is ours: the byte was dropped with the grant. */
  granted(): void {
    if (this.#moved) this.#line?.close();
    else if (this.#line !== undefined) this.queue.putBack(this.#line);
    this.#end();
  }

  /** A thread that waited with it was called off, and is perhaps still busy with the open file. */
  moved(): void {
    this.#moved = true;
  }

  /** A thread waits with it. */
  park(): void {
    this.#parked = true;
  }

  /** Gives up. A thread that waits with it may still be busy with the open file: that is not used again. */
  leave(): void {
    if (this.#state === 'gone') return;
    this.#drawWait?.cancel();
    if (this.#line !== undefined) {
      this.queue.addon.drop(this.#line.nativeFile);
      if (this.#parked || this.#state !== 'drawn') this.#line.close();
      else this.queue.putBack(this.#line);
    }
    this.#end();
  }

  #tryDraw(): void {
    const { addon, sidecar } = this.queue;
    for (let attempt = 0; attempt < DRAW_ATTEMPTS; attempt++) {
      const line = this.queue.open();
      const status = addon.draw(line.nativeFile, this.shared);
      this.#line = line;
      if (status === GRANTED) return this.#finish('drawn');
      if (status === CONTENDED) return this.#drawOnThread(line);
      line.close();
      this.#line = undefined;
      if (status !== REPLACED) throw this.queue.drawError(-status);
    }
    throw new LockUnsupportedError(sidecar, `it was replaced ${DRAW_ATTEMPTS} times in a row between open and lock`);
  }

  /** Another process is taking a ticket at this moment: wait for that on a thread. */
  #drawOnThread(line: OpenFile): void {
    const { addon } = this.queue;
    const error = (errno: number): Error => this.queue.drawError(errno);
    const again = (): void => {
      line.close();
      this.#line = undefined;
      this.draw(this.#done);
    };
    const onEnd = (status: number): void => {
      this.#drawWait = undefined;
      if (status === GRANTED) return this.#finish('drawn');
      if (status === REPLACED) return again();
      line.close();
      this.#line = undefined;
      this.#finish('failed', error(-status));
    };
    try {
      const wait = (): NativeWait =>
        new NativeWait(addon, { line: line.nativeFile, draw: true }, this.shared, error, onEnd);
      this.#drawWait = withDescriptors(wait);
    } catch (reason) {
      // No thread to wait on: byte 0 is locked for some microseconds, so a later try will do.
      if (codeOf(reason) !== 'EAGAIN') throw reason;
      const timer = setTimeout(again, DRAW_AGAIN_MS);
      const cancel = (): boolean => {
        clearTimeout(timer);
        return true;
      };
      this.#drawWait = { cancel };
    }
  }

  #finish(state: 'drawn' | 'failed', error?: Error): void {
    this.#state = state;
    this.#error = error;
    this.#done();
    this.#onReady?.();
  }

  #end(): void {
    const hadPlace = this.#state !== 'undrawn';
    const wasDrawing = this.#state === 'drawing';
    this.#state = 'gone';
    this.#line = undefined;
    this.#onReady = undefined;
    if (wasDrawing) this.#done();
    this.queue.left(this, hadPlace);
  }
}

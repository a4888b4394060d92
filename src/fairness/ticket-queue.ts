/**
 * Strict order between processes: a ticket for every request, drawn when it is made. The tickets of all processes are
 * byte locks on one sidecar file (native-fallback/src/ticket.h has the system calls, docs/fairness.md the argument).
 * Here: which of this thread's requests has a ticket, and what becomes of it.
 */
import { lstatSync } from 'node:fs';
import { CONTENDED, GRANTED, type NativeFallback, type NativeFile, NativeWait, REMOVED, REPLACED } from '../binding/native-fallback.js';
import { LockUnsupportedError, systemError } from '../errors.js';
import { IdleFiles } from '../file/idle-files.js';
import { type OpenFile, openLockFile } from '../file/lock-file.js';
import { besides } from '../file/paths.js';
import type { FifoQueue } from '../queue/fifo-queue.js';

/** Tickets that one thread has drawn ahead: many of them would make the kernel's list of locks long. */
const AHEAD = 16;
/** A sidecar that is replaced between open and draw this often in a row is not replaced by bad luck. */
const DRAW_ATTEMPTS = 100;

export function sidecarOf(canonical: string): string {
  return besides(canonical, 'queue');
}

/** One per path and thread, like the queue of its waiters. */
const ofQueue = new WeakMap<FifoQueue, TicketQueue>();

export function ticketQueueOf(queue: FifoQueue, canonical: string, mode: number, addon: NativeFallback): TicketQueue {
  const tickets = ofQueue.get(queue) ?? new TicketQueue(sidecarOf(canonical), mode, addon);
  ofQueue.set(queue, tickets);
  return tickets;
}

export class TicketQueue {
  readonly #idle = new IdleFiles();
  /** Requests without a ticket yet, in order of arrival. */
  readonly #undrawn = new Set<Ticket>();
  #ahead = 0;
  #drawing = false;

  constructor(
    readonly sidecar: string,
    readonly mode: number,
    readonly addon: NativeFallback,
  ) {}

  /** A place at the end of the line. */
  join(): Ticket {
    const ticket = new Ticket(this);
    this.#undrawn.add(ticket);
    this.#draw();
    return ticket;
  }

  /** An open sidecar, to look at the line without standing in it. Given back with `putBack`. */
  open(): OpenFile {
    const idle = this.#idle.take(this.sidecar, true);
    if (idle !== undefined) return idle;
    const { sidecar, mode, addon } = this;
    const file = openLockFile({ path: sidecar, mode, followSymlinks: false }, { needsWrite: true });
    file.native = addon.file(file.fd, sidecar, false, true, 0, 0);
    return file;
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
  #drawWait: NativeWait | undefined;
  #onReady: (() => void) | undefined;
  #parked = false;
  #moved = false;
  #done: () => void = () => {};

  constructor(private readonly queue: TicketQueue) {}

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
      const status = addon.draw(line.nativeFile);
      this.#line = line;
      if (status === GRANTED) return this.#finish('drawn');
      if (status === CONTENDED) return this.#drawOnThread(line);
      line.close();
      this.#line = undefined;
      if (status !== REPLACED) throw systemError(-status, 'fcntl', sidecar);
    }
    throw new LockUnsupportedError(sidecar, `it was replaced ${DRAW_ATTEMPTS} times in a row between open and lock`);
  }

  /** Somebody is drawing at this very moment: wait for that where it hurts nobody. */
  #drawOnThread(line: OpenFile): void {
    const { addon, sidecar } = this.queue;
    const error = (errno: number): Error => systemError(errno, 'fcntl', sidecar);
    this.#drawWait = new NativeWait(addon, { line: line.nativeFile, draw: true }, false, error, (status) => {
      this.#drawWait = undefined;
      if (status === GRANTED) return this.#finish('drawn');
      line.close();
      this.#line = undefined;
      if (status === REPLACED) this.draw(this.#done);
      else this.#finish('failed', error(-status));
    });
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

/**
 * Strict order between processes: a ticket for every request, taken when it is made. The tickets of all processes are
 * byte locks on one sidecar file (native-fallback/src/ticket.h has the system calls, docs/fairness.md the argument).
 * Here: which of this thread's requests has a ticket, and what becomes of it.
 */
import { lstatSync } from 'node:fs';
import { codeOf, LockMismatchError, LockUnsupportedError, systemError } from '../../errors.js';
import { canonicalPath } from '../../files/canonical-path.js';
import { DescriptorCache } from '../../files/descriptor-cache.js';
import { type LockFileOptions, MAX_REPLACED, openLockFile } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { sidecarOf } from '../../files/sibling-files.js';
import { type Addon, CONTENDED, FIRST, GRANTED, REMOVED, REPLACED } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';
import { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import { builtins } from '../../require.js';
import { clearTimeout, setTimeout } from '../../timers.js';
import { checkProtocol } from './protocol.js';

/** Tickets that one thread has taken ahead: many of them would make the kernel's list of locks long. */
const MOST_AHEAD = 16;
/**
 * Where there is no thread to wait on, a ticket that another process was taking is tried for again after so many ms.
 */
const TAKE_AGAIN_MS = 1;

/** One per path and thread. */
export class TicketQueue {
  readonly sidecar: string;
  /** The last request had to wait. The next one takes its ticket at once, and tries only if it is the first. */
  isCrowded = false;
  readonly #descriptors = new DescriptorCache();
  /** Requests without a ticket yet, in order of arrival. */
  readonly #waiting = new Set<Ticket>();
  #ahead = 0;
  #isTaking = false;

  constructor(
    /** The place of the lock. */
    readonly canonical: string,
    /** Of the lock file. */
    private readonly options: LockFileOptions,
    private readonly addon: Addon,
  ) {
    this.sidecar = sidecarOf(canonical);
  }

  /** A place at the end of the queue. @param onTaken called once it is taken */
  takeTicket(mode: LockMode, onTaken: (() => void) | undefined): Ticket {
    const ticket = new Ticket(this, mode, onTaken);
    this.#waiting.add(ticket);
    this.#takeNext();
    return ticket;
  }

  /** An open sidecar, to look at the queue without a ticket, or to take one. Returned with `putBack`. */
  open(): OpenFile {
    const cached = this.#descriptors.take(this.sidecar, true);
    if (cached !== undefined) return cached;
    const { sidecar, addon } = this;
    const { mode, ignoreUmask = false } = this.options;
    const options = { path: sidecar, mode, ignoreUmask, followSymlinks: false, isSidecar: true };
    const file = openLockFile({ ...options, makesFolders: () => this.#isWhereItWas() }, { access: 'write' });
    try {
      file.native = new NativeFile(addon, file.fd, { ...options, range: { start: 0, length: 0 } });
      file.keepable = true; // Its content is ours.
      checkProtocol(file, sidecar);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  putBack(file: OpenFile): void {
    this.#descriptors.put(this.sidecar, file);
  }

  /** Asks something of the sidecar, again if that was removed meanwhile. */
  look<T>(ask: (sidecar: NativeFile) => T | typeof REMOVED): T {
    for (let removed = 0; removed < MAX_REPLACED; removed++) {
      const sidecar = this.open();
      let answer: T | typeof REMOVED = REMOVED;
      try {
        answer = ask(sidecar.nativeFile);
      } finally {
        if (answer === REMOVED) sidecar.close();
        else this.putBack(sidecar);
      }
      if (answer !== REMOVED) return answer;
    }
    throw this.unsteady();
  }

  /** Whether there is a sidecar. */
  exists(): boolean {
    return lstatSync(this.sidecar, { throwIfNoEntry: false }) !== undefined;
  }

  /** Removes the sidecar. Only for the holder of the main lock. False: a request is queued. */
  removeSidecar(): boolean {
    if (!this.exists()) return true;
    const file = this.open();
    try {
      return file.nativeFile.removeSidecar() !== CONTENDED;
    } finally {
      file.close();
      this.#descriptors.clear();
    }
  }

  dispose(): void {
    this.#descriptors.clear();
  }

  /** @internal */
  unsteady(): LockUnsupportedError {
    const why = `it was replaced ${MAX_REPLACED} times in a row between open and lock`;
    return new LockUnsupportedError(this.sidecar, why);
  }

  /** @internal The ticket was dropped, or never taken. */
  dropped(ticket: Ticket, wasTaken: boolean): void {
    this.#waiting.delete(ticket);
    if (wasTaken) this.#ahead--;
    this.#takeNext();
  }

  /**
   * Whether the lock's path still leads to the folder that it led to when this object was made. A link may have been
   * pointed to another folder meanwhile: then the old one, if it was removed, is not to be made anew.
   */
  #isWhereItWas(): boolean {
    const { path, followSymlinks } = this.options;
    return canonicalPath(path, followSymlinks) === this.canonical;
  }

  /** One at a time, so that tickets come in the order of the requests. */
  #takeNext(): void {
    while (!this.#isTaking && this.#ahead < MOST_AHEAD) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      this.#waiting.delete(next);
      this.#ahead++;
      this.#isTaking = true;
      next.take(() => {
        this.#isTaking = false;
        this.#takeNext();
      });
    }
  }
}

/** One request's place in the queue of all processes. */
export class Ticket {
  #state: 'waiting' | 'taking' | 'taken' | 'failed' | 'dropped' = 'waiting';
  /** Open as long as the ticket is taken: it carries the lock that is the ticket. */
  #sidecar: OpenFile | undefined;
  #failure: Error | undefined;
  /** Uses the sidecar: a thread that takes the ticket, or that waits with it. */
  #wait: Pick<NativeWait, 'cancel'> | undefined;
  #onReady: (() => void) | undefined;
  #isFirst = false;
  #isParked = false;
  /** Lets the next request take its ticket. */
  #passOn: () => void = () => {};

  constructor(
    private readonly queue: TicketQueue,
    private readonly mode: LockMode,
    private readonly onTaken: (() => void) | undefined,
  ) {}

  /** Why there is no ticket. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Neither taken yet nor failed: see `whenReady`. */
  get isPending(): boolean {
    return this.#state === 'waiting' || this.#state === 'taking';
  }

  /** No other process had a ticket when it was taken, so none is before it. */
  get isFirst(): boolean {
    return this.#isFirst;
  }

  /** The open sidecar that carries the ticket. @throws the reason if there is none */
  get sidecar(): NativeFile {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sidecar === undefined) throw new Error('unreachable: the ticket is not taken');
    return this.#sidecar.nativeFile;
  }

  /** Calls back, later, when it is not pending any more. */
  whenReady(callback: () => void): void {
    this.#onReady = callback;
  }

  /** @internal @param passOn called when the next request may take its ticket */
  take(passOn: () => void): void {
    this.#state = 'taking';
    this.#passOn = passOn;
    try {
      this.#tryTake();
    } catch (error) {
      this.#finish('failed', error as Error);
    }
  }

  /** The lock is held; the ticket was dropped with the grant. */
  granted(): void {
    if (this.#sidecar !== undefined) this.queue.putBack(this.#sidecar);
    this.queue.isCrowded = this.#isParked;
    this.#end();
  }

  /** The same where the grant did not drop the ticket. */
  passTurn(): void {
    this.#sidecar?.nativeFile.dropTicket();
    this.granted();
  }

  /** A thread waits with it. */
  park(wait: NativeWait): void {
    this.#wait = wait;
    this.#isParked = true;
  }

  /** Drops it at once: waiters behind need not wait until a thread that waits with it has noticed. */
  cancel(): void {
    if (this.#state === 'dropped') return;
    const sidecar = this.#sidecar;
    if (sidecar === undefined) this.#wait?.cancel();
    else {
      sidecar.nativeFile.dropTicket();
      // Closed, since the thread may have locked more meanwhile.
      if (this.#wait !== undefined) this.#wait.cancel(() => sidecar.close());
      else this.queue.putBack(sidecar);
    }
    this.#end();
  }

  #tryTake(): void {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const sidecar = this.queue.open();
      this.#sidecar = sidecar;
      const { addon, handle } = sidecar.nativeFile;
      const status = addon.takeTicket(handle, this.mode === 'shared');
      this.#isFirst = status === FIRST;
      if (status === GRANTED || status === FIRST) return this.#finish('taken');
      if (status === CONTENDED) return this.#takeOnThread(sidecar);
      this.#closeSidecar();
      if (status !== REPLACED) throw this.#takeError(-status);
    }
    throw this.queue.unsteady();
  }

  /** Another process is taking a ticket at this moment: waits for that on a thread. */
  #takeOnThread(sidecar: OpenFile): void {
    const again = (): void => {
      this.#closeSidecar();
      this.take(this.#passOn);
    };
    const onEnd = (status: number): void => {
      this.#wait = undefined;
      if (status === GRANTED) return this.#finish('taken');
      if (status === REPLACED) return again();
      this.#closeSidecar();
      this.#finish('failed', this.#takeError(-status));
    };
    try {
      this.#wait = NativeWait.forTicket(sidecar.nativeFile, this.mode, onEnd);
    } catch (error) {
      // No thread to wait on: the other process takes some microseconds, so a later try will do.
      if (codeOf(error) !== 'EAGAIN') throw error;
      const timer = setTimeout(again, TAKE_AGAIN_MS);
      const cancel = (whenUnused = (): void => {}): void => {
        clearTimeout(timer);
        whenUnused();
      };
      this.#wait = { cancel };
    }
  }

  #takeError(errno: number): Error {
    const { sidecar } = this.queue;
    if (errno !== builtins.errno.EBUSY) return systemError(errno, 'fcntl', sidecar);
    const why =
      'another process, which does not take part in the queue, has locked it to its end and ' + 'leaves no ticket';
    return new LockMismatchError(sidecar, why);
  }

  #closeSidecar(): void {
    this.#sidecar?.close();
    this.#sidecar = undefined;
  }

  #finish(state: 'taken' | 'failed', failure?: Error): void {
    this.#state = state;
    this.#failure = failure;
    if (state === 'taken') this.onTaken?.();
    this.#passOn();
    this.#onReady?.();
  }

  #end(): void {
    const wasTaken = this.#state !== 'waiting';
    const wasTaking = this.#state === 'taking';
    this.#state = 'dropped';
    this.#sidecar = undefined;
    this.#onReady = undefined;
    if (wasTaking) this.#passOn();
    this.queue.dropped(this, wasTaken);
  }
}

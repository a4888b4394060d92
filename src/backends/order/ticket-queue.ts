/**
 * Strict order between processes: a ticket for every request, taken when it is made. The tickets of all processes are
 * byte locks on one sidecar file (native-fallback/src/ticket.h has the system calls, docs/fairness.md the argument).
 * Here: which of this thread's requests has a ticket.
 */
import { lstatSync } from 'node:fs';
import { LockUnsupportedError } from '../../errors.js';
import { canonicalPath } from '../../files/canonical-path.js';
import { DescriptorCache } from '../../files/descriptor-cache.js';
import { type LockFileOptions, MAX_REPLACED, openLockFile } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { sidecarOf } from '../../files/sibling-files.js';
import { CONTENDED, type LockAddon, REMOVED } from '../../native/addon.js';
import { NativeFile } from '../../native/native-file.js';
import type { LockMode } from '../../options.js';
import { checkProtocol } from './protocol.js';
import { Ticket } from './ticket.js';

/** Tickets that one thread has taken ahead: many of them would make the kernel's list of locks long. */
const MOST_AHEAD = 16;

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
    private readonly addon: LockAddon,
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

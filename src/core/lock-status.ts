/** What is known of a lock's holders and waiters: for `inspect()`, `onWait` and the error of a timeout. */
import { commandLine, withoutArguments } from '../command-line.js';
import { LockTimeoutError } from '../errors.js';
import type { LockMode, LockParty, Parties, WaitInfo } from '../options.js';
import { quietly } from '../quietly.js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Backend } from './backend.js';
import type { FifoQueue, Waiter } from './fifo-queue.js';
import { WAITS_FOR_ITSELF } from './reentrancy.js';

/**
 * How long, in ms, a timeout may be late for the sake of naming the holders; and how long acquireSync may look for
 * them.
 */
const TIMEOUT_LOOK_MS = 100;
const SYNC_LOOK_MS = 50;

/** A holder that the system does not show. */
const UNSEEN: LockParty = { pid: 0, shared: false };

/** This thread's requests as its queue knows them, other processes as the system shows them. */
export class LockStatus {
  constructor(
    private readonly path: string | undefined,
    private readonly queue: FifoQueue,
    private readonly backend: Backend,
  ) {}

  /** Whether the lock is held, by this or another process. */
  isLocked(): boolean {
    return this.queue.holders > 0 || this.backend.isLocked();
  }

  now(): Parties {
    return this.#withOthers(this.backend.inspect().now());
  }

  /** The same, without blocking the event loop. */
  async later(): Promise<Parties> {
    return this.#withOthers(await this.backend.inspect().later());
  }

  waitInfo(request: Waiter, since: number, waitsForItself: boolean): WaitInfo | Promise<WaitInfo> {
    const info = ({ holders }: Parties): WaitInfo => {
      let ahead = 0;
      for (const waiter of this.queue) {
        if (waiter === request) break;
        ahead++;
      }
      const told: WaitInfo = { path: this.path, since: new Date(since), ahead, holders: holders.map(toBeLogged) };
      if (waitsForItself) told.warning = WAITS_FOR_ITSELF;
      return told;
    };
    if (this.path === undefined) return info(this.now());
    // A service that cannot be asked is no reason not to wait for it.
    return this.later().then(info, () => info({ holders: [], waiters: [] }));
  }

  /** It names the holders: later, where other processes are to be looked at. */
  timeoutError(timeout: number, waitsForItself: boolean, cause?: unknown): Error | Promise<Error> {
    const error = (others?: Parties): Error => this.#timeoutError(timeout, others, waitsForItself, cause);
    if (this.path === undefined) return error();
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(error()), TIMEOUT_LOOK_MS);
      const tell = (others?: Parties): void => {
        clearTimeout(late);
        resolve(error(others));
      };
      this.backend
        .inspect()
        .later()
        .then(tell, () => tell());
    });
  }

  timeoutErrorNow(timeout: number): Error {
    return this.#timeoutError(timeout, this.backend.inspect().now(SYNC_LOOK_MS), false);
  }

  #timeoutError(timeout: number, others: Parties | undefined, waitsForItself: boolean, cause?: unknown): Error {
    const waiters = this.queue.waiting + ofOtherProcesses(others?.waiters).length;
    // Of a lock in one thread there is nothing to tell that the program does not know.
    const holders = this.path === undefined ? [] : this.#holders(others).map(toBeLogged);
    return new LockTimeoutError(this.path, timeout, {
      holders,
      waiters,
      warning: waitsForItself ? WAITS_FOR_ITSELF : undefined,
      cause,
    });
  }

  #withOthers(others: Parties | undefined): Parties {
    const waiters = Array.from(this.queue, ({ mode }) => this.#self(mode));
    return { holders: this.#holders(others), waiters: [...waiters, ...ofOtherProcesses(others?.waiters)] };
  }

  #holders(others: Parties | undefined): LockParty[] {
    const { queue } = this;
    if (queue.holders > 0) {
      const own = Array.from({ length: queue.holders }, () => this.#self(queue.heldMode));
      return [...own, ...ofOtherProcesses(others?.holders)];
    }
    // Where it is our process but not our thread, it is another Worker.
    const holders = others?.holders ?? [];
    // There may be a holder that the system does not show.
    return holders.length === 0 && quietly(() => this.backend.isLocked()) ? [UNSEEN] : holders;
  }

  #self(mode: LockMode): LockParty {
    const shared = mode === 'shared' && !this.backend.capabilities.isSemaphore;
    return { pid: process.pid, command: commandLine(process.argv), shared };
  }
}

/** An error and what `onWait` is told are logged, and kept for long. */
function toBeLogged(party: LockParty): LockParty {
  return party.command === undefined ? party : { ...party, command: withoutArguments(party.command) };
}

function ofOtherProcesses(parties: LockParty[] = []): LockParty[] {
  return parties.filter(({ pid }) => pid !== process.pid);
}

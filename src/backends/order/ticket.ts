/** A request's place in the queue of all processes: a byte lock on the sidecar, from when it is taken until it is dropped. */
import { codeOf, LockMismatchError, systemError } from '../../errors.js';
import { MAX_REPLACED } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import { CONTENDED, FIRST, FOR_TICKET, GRANTED, REPLACED } from '../../native/addon.js';
import type { NativeFile } from '../../native/native-file.js';
import { NativeWait } from '../../native/native-wait.js';
import type { LockMode } from '../../options.js';
import { builtins } from '../../require.js';
import { clearTimeout, setTimeout } from '../../timers.js';
import type { Sidecar } from './sidecar.js';
import type { Turn } from './turn.js';

/**
 * Where there is no thread to wait on, a ticket that another process was taking is tried for again after so many ms.
 */
const TAKE_AGAIN_MS = 1;

export class Ticket implements Turn {
  #state: 'waiting' | 'taking' | 'taken' | 'failed' | 'dropped' = 'waiting';
  /** Open as long as the ticket is taken: it carries the lock that is the ticket. */
  #sidecar: OpenFile | undefined;
  #failure: Error | undefined;
  /** Ends the thread that takes the ticket. */
  #endTaking: ((whenUnused: () => void) => void) | undefined;
  #onReady: (() => void) | undefined;
  #isFirst = false;
  #isParked = false;
  /** Lets the next request take its ticket. */
  #passOn: () => void = () => {};

  constructor(
    private readonly file: Sidecar,
    private readonly mode: LockMode,
    private readonly onTaken: (() => void) | undefined,
    /** It was dropped, or never taken. @param hadToWait of a request that was served */
    private readonly onEnd: (wasTaken: boolean, hadToWait?: boolean) => void,
  ) {}

  get failure(): Error | undefined {
    return this.#failure;
  }

  get isPending(): boolean {
    return this.#state === 'waiting' || this.#state === 'taking';
  }

  get isFirst(): boolean {
    return this.#isFirst;
  }

  get sidecar(): NativeFile {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sidecar === undefined) throw new Error('unreachable: the ticket is not taken');
    return this.#sidecar.nativeFile;
  }

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

  served(): void {
    if (this.#sidecar !== undefined) this.file.putBack(this.#sidecar);
    this.#end(this.#isParked);
  }

  pass(): void {
    this.#sidecar?.nativeFile.dropTicket();
    this.served();
  }

  parked(): void {
    this.#isParked = true;
  }

  drop(isInUse: boolean): OpenFile | undefined {
    if (this.#state === 'dropped') return undefined;
    const sidecar = this.#sidecar;
    const endTaking = this.#endTaking;
    sidecar?.nativeFile.dropTicket();
    // Closed, since the thread may have locked more meanwhile.
    if (endTaking !== undefined) endTaking(() => sidecar?.close());
    else if (sidecar !== undefined && !isInUse) this.file.putBack(sidecar);
    this.#end();
    return isInUse ? sidecar : undefined;
  }

  #tryTake(): void {
    for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
      const sidecar = this.file.open();
      this.#sidecar = sidecar;
      const { addon, handle } = sidecar.nativeFile;
      const status = addon.takeTicket(handle, this.mode === 'shared');
      this.#isFirst = status === FIRST;
      if (status === GRANTED || status === FIRST) return this.#finish('taken');
      if (status === CONTENDED) return this.#takeOnThread(sidecar);
      this.#closeSidecar();
      if (status !== REPLACED) throw this.#takeError(-status);
    }
    throw this.file.unsteady();
  }

  /** Another process is taking a ticket at this moment: waits for that on a thread. */
  #takeOnThread(sidecar: OpenFile): void {
    const again = (): void => {
      this.#endTaking = undefined;
      this.#closeSidecar();
      this.take(this.#passOn);
    };
    const onEnd = (status: number): void => {
      this.#endTaking = undefined;
      if (status === GRANTED) return this.#finish('taken');
      if (status === REPLACED) return again();
      this.#closeSidecar();
      this.#finish('failed', this.#takeError(-status));
    };
    try {
      const wait = new NativeWait({ sidecar: sidecar.nativeFile }, this.mode, FOR_TICKET, onEnd);
      this.#endTaking = (whenUnused) => wait.cancel(whenUnused);
    } catch (error) {
      // No thread to wait on: the other process takes some microseconds, so a later try will do.
      if (codeOf(error) !== 'EAGAIN') throw error;
      const timer = setTimeout(again, TAKE_AGAIN_MS);
      this.#endTaking = (whenUnused) => {
        clearTimeout(timer);
        whenUnused();
      };
    }
  }

  #takeError(errno: number): Error {
    const { path } = this.file;
    if (errno !== builtins.errno.EBUSY) return systemError(errno, 'fcntl', path);
    const why = 'another process, which does not take part in the queue, has locked it to its end and leaves no ticket';
    return new LockMismatchError(path, why);
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

  #end(hadToWait?: boolean): void {
    const wasTaken = this.#state !== 'waiting';
    const wasTaking = this.#state === 'taking';
    this.#state = 'dropped';
    this.#sidecar = undefined;
    this.#onReady = undefined;
    if (wasTaking) this.#passOn();
    this.onEnd(wasTaken, hadToWait);
  }
}

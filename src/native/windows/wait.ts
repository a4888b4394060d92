/** A wait on Windows, in up to three steps, each of which is one call that blocks: for a ticket, its turn, the lock. */
import { builtins } from '../../require.js';
import { CONTENDED, GRANTED, REPLACED } from '../addon.js';
import { ifAtPath, type OpenHandle, statusOf } from './open-handle.js';
import { type Bytes, TAKING } from './tickets.js';

export class Wait {
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
        if (taken < 0 || taken === CONTENDED) return taken === CONTENDED ? -builtins.errno.EAGAIN : taken;
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
    return this.#doing === 'lock' && status === GRANTED
      ? this.#end(this.file as OpenHandle)
      : -builtins.errno.ECANCELED;
  }
}

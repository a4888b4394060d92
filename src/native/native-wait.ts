/** Waits on threads of the addon. */
import { systemError } from '../errors.js';
import type { LockMode } from '../options.js';
import type { Addon } from './addon.js';
import type { NativeFile } from './native-file.js';

/** What this copy of the library is called back by, and for which waits. Other copies have their own. */
interface Client {
  readonly id: number;
  /** What an entry refers to, its files too, lives as long as the wait. */
  readonly waits: Map<number, NativeWait>;
}

/** Waits whose owners cancelled them in vain: the signal that would interrupt them has another handler. */
const stuck = new Set<NativeWait>();

/** Whether threads of this environment stay parked for nothing, so that more should not follow. */
export function hasStuckWaits(): boolean {
  return stuck.size > 0;
}

const clients = new WeakMap<Addon, Client>();

function clientOf(addon: Addon): Client {
  const known = clients.get(addon);
  if (known !== undefined) return known;
  const waits = new Map<number, NativeWait>();
  const id = addon.connect((wait, status) => {
    const ended = waits.get(wait);
    waits.delete(wait);
    if (ended === undefined) return;
    stuck.delete(ended);
    ended.onEnd(status);
  });
  const client = { id, waits };
  clients.set(addon, client);
  return client;
}

export interface WaitedFor {
  /** To be locked. */
  readonly file?: NativeFile | undefined;
  /** Whose ticket's turn is waited for first. */
  readonly sidecar?: NativeFile | undefined;
}

/** JavaScript is told of the end at most once, on its own thread: there, and only there, grant meets cancel. */
export class NativeWait {
  readonly #addon: Addon;
  readonly #id: number;
  readonly #client: Client;

  private constructor(
    /** The addon uses them as long as the wait lasts. */
    readonly files: WaitedFor,
    readonly onEnd: (status: number) => void,
    start: (addon: Addon, client: number) => number,
  ) {
    const first = files.sidecar ?? files.file;
    if (first === undefined) throw new Error('unreachable: a wait for nothing');
    this.#addon = first.addon;
    this.#client = clientOf(first.addon);
    this.#id = start(first.addon, this.#client.id);
    if (this.#id < 0) throw systemError(-this.#id, first.syscall, first.path);
    this.#client.waits.set(this.#id, this);
  }

  /**
   * Waits for its turn in the ticket queue, if there is a sidecar, then for the lock, if there is a file.
   * @throws system errors: EMFILE (no descriptor), EAGAIN (no thread)
   */
  static forLock(files: WaitedFor, mode: LockMode, onEnd: (status: number) => void): NativeWait {
    return new NativeWait(files, onEnd, (addon, client) =>
      addon.wait(client, files.file?.handle, files.sidecar?.handle, mode === 'shared'),
    );
  }

  /** Takes a ticket as soon as no other process is taking one. @throws as `forLock` */
  static forTicket(sidecar: NativeFile, mode: LockMode, onEnd: (status: number) => void): NativeWait {
    return new NativeWait({ sidecar }, onEnd, (addon, client) =>
      addon.waitForTicket(client, sidecar.handle, mode === 'shared'),
    );
  }

  /** False: it cannot be interrupted and goes on, but keeps no process alive. Then `onEnd` is called all the same. */
  cancel(): boolean {
    const { waits } = this.#client;
    if (waits.get(this.#id) !== this) return true;
    const isCancelled = this.#addon.cancel(this.#id);
    if (isCancelled) waits.delete(this.#id);
    else stuck.add(this);
    return isCancelled;
  }
}

/** A thread that blocks in `acquireSync` looks up this often, in ms, so that a Worker can be terminated. */
const SYNC_SLICE_MS = 50;

/** A wait that blocks this thread. Undefined: not over after `timeout` ms. Below zero: a negated errno. */
export function waitSync(
  file: NativeFile,
  sidecar: NativeFile | undefined,
  mode: LockMode,
  timeout: number,
): number | undefined {
  const { addon } = file;
  const end = performance.now() + timeout;
  const wait = addon.waitSync(clientOf(addon).id, file.handle, sidecar?.handle, mode === 'shared');
  if (wait < 0) return wait;
  for (let left = timeout; left > 0; left = end - performance.now()) {
    const status = addon.join(wait, Math.min(left, SYNC_SLICE_MS));
    if (status !== undefined) return status;
  }
  addon.cancel(wait);
  return undefined;
}

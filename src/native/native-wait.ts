/** Waits on threads of the addon. */
import { systemError } from '../errors.js';
import type { LockMode } from '../options.js';
import { Deadline } from '../timers.js';
import { GRANTED, JOINED, type LockAddon, type WaitKind } from './addon.js';
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

const clients = new WeakMap<LockAddon, Client>();

function clientOf(addon: LockAddon): Client {
  const known = clients.get(addon);
  if (known !== undefined) return known;
  const waits = new Map<number, NativeWait>();
  const id = addon.connect((wait, status) => {
    waits.get(wait)?.ended(status);
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

/**
 * JavaScript is told of the end at most once, on its own thread: there, and only there, grant meets cancel. The files
 * stay open as long as the wait lasts.
 */
export class NativeWait {
  readonly #addon: LockAddon;
  readonly #id: number;
  readonly #client: Client;
  /** Called when a wait that was cancelled is over. */
  #whenUnused: ((wasGranted: boolean) => void) | undefined;

  /**
   * Begins.
   * @param files the addon uses them as long as the wait lasts
   * @throws EAGAIN there is no thread to wait on; other system errors
   */
  constructor(
    readonly files: WaitedFor,
    mode: LockMode,
    kind: WaitKind,
    readonly onEnd: (status: number) => void,
  ) {
    const { file, sidecar } = files;
    const { addon, syscall, path } = (sidecar ?? file) as NativeFile;
    this.#addon = addon;
    this.#client = clientOf(addon);
    this.#id = addon.wait(this.#client.id, file?.handle, sidecar?.handle, mode === 'shared', kind);
    if (this.#id < 0) throw systemError(-this.#id, syscall, path);
    this.#client.waits.set(this.#id, this);
  }

  /** Blocks this thread. Undefined: it still waits after `ms`. */
  join(ms: number): number | undefined {
    const status = this.#addon.join(this.#id, ms);
    if (status !== undefined) this.#client.waits.delete(this.#id);
    return status;
  }

  /**
   * Once, by its owner, before `onEnd`, which is not called after this.
   * @param whenUnused called when no thread uses the files any more: at once, or, where the wait cannot be interrupted,
   * at its end. To be closed there: a lock or a ticket may have been granted all the same. It is told whether the wait
   * had been granted just before it was cancelled; its ticket, if it had one, was dropped with the grant then.
   */
  cancel(whenUnused: (wasGranted: boolean) => void): void {
    const status = this.#addon.cancel(this.#id);
    if (status === undefined) {
      this.#whenUnused = whenUnused;
      stuck.add(this);
    } else {
      this.#client.waits.delete(this.#id);
      whenUnused(status === GRANTED);
    }
  }

  /** @internal */
  ended(status: number): void {
    this.#client.waits.delete(this.#id);
    stuck.delete(this);
    if (this.#whenUnused === undefined) this.onEnd(status);
    else this.#whenUnused(false);
  }
}

/** A thread that blocks in `acquireSync` looks up this often, in ms, so that a Worker can be terminated. */
const SYNC_SLICE_MS = 50;

/**
 * A wait that blocks this thread. Below zero: a negated errno. Undefined: not over after `timeout` ms, and cancelled.
 * @param whenUnused of a cancelled wait: see `NativeWait.cancel`
 * @throws as `new NativeWait`
 */
export function waitSync(
  file: NativeFile,
  sidecar: NativeFile | undefined,
  mode: LockMode,
  timeout: number,
  whenUnused: () => void,
): number | undefined {
  const deadline = new Deadline(timeout);
  const wait = new NativeWait({ file, sidecar }, mode, JOINED, () => {});
  for (let left = timeout; left > 0; left = deadline.left) {
    const status = wait.join(Math.min(left, SYNC_SLICE_MS));
    if (status !== undefined) return status;
  }
  wait.cancel(whenUnused);
  return undefined;
}

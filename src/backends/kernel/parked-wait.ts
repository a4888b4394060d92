/** One wait in the kernel's queue: on a thread and an open file of its own. */

import { systemError } from '../../errors.js';
import type { OpenFile } from '../../files/lock-file.js';
import { GRANTED, type NativeFallback, type NativeFile, NativeWait, REPLACED } from '../../native/addon.js';

export type ParkOutcome = { file: OpenFile; current: boolean } | { file: OpenFile; error: Error };

/** JavaScript is told of the outcome at most once, on its own thread: there, and only there, grant meets cancel. */
export class ParkedWait {
  readonly #native: NativeWait;
  #owner: ((outcome: ParkOutcome) => void) | undefined;
  #finished = false;

  /** @throws system errors: EMFILE (no descriptor), EAGAIN (no thread) */
  constructor(
    private readonly addon: NativeFallback,
    private readonly file: OpenFile,
    line: NativeFile | undefined,
    readonly shared: boolean,
    /** Of the calls it waits with: who may adopt it. */
    readonly key: string,
    private readonly syscall: string,
    private readonly path: string,
    owner: (outcome: ParkOutcome) => void,
  ) {
    this.#owner = owner;
    const error = (errno: number): Error => systemError(errno, syscall, path);
    this.#native = new NativeWait(addon, { file: file.nativeFile, line }, shared, error, (status) =>
      this.#finish(status),
    );
  }

  /**
   * Gives up, unless it is over. A grant that comes all the same goes with the descriptors: the thread closes its own, we close ours.
   * False: it cannot be interrupted (the signal is somebody else's). Then it stays parked, lets go when granted, and
   * may be adopted by the next request meanwhile.
   */
  cancel(): boolean {
    if (this.#finished) return true;
    this.#owner = undefined;
    if (!this.#native.cancel()) return false;
    this.#finished = true;
    this.file.unlockAndClose(this.addon);
    return true;
  }

  /** Takes over a wait that its owner could not end. False: it is over. */
  adopt(owner: (outcome: ParkOutcome) => void): boolean {
    if (this.#finished) return false;
    this.#owner = owner;
    this.#native.adopt();
    return true;
  }

  #finish(status: number): void {
    this.#finished = true;
    const outcome: ParkOutcome =
      status < 0
        ? { file: this.file, error: systemError(-status, this.syscall, this.path) }
        : { file: this.file, current: status === GRANTED };
    if (status === REPLACED || status < 0 || this.#owner === undefined) this.file.unlockAndClose(this.addon);
    this.#owner?.(outcome);
  }
}

/** A lock on a file: from a path and options to a queue and a backend. */

import type { InspectOptions, inspect } from 'node:util';
import { pathState } from '../backends/path-state.js';
import { selectBackend } from '../backends/select.js';
import type { Capabilities } from '../core/backend.js';
import { systemClock } from '../core/clock.js';
import { INSPECT, inspectAs } from '../core/inspected.js';
import { LockCore } from '../core/lock-core.js';
import { LockPlace } from '../files/lock-place.js';
import type { InterProcessLockOptions, LockParty, MechanismName } from '../options.js';
import { lockOptions, lockPath } from '../validate.js';
import { PlacedCore } from './placed-core.js';

/** What `inspect()` sees: a snapshot, out of date as soon as it is read. */
export interface LockInspection {
  path: string;
  mechanism: MechanismName;
  /** The order between processes. */
  fairness: 'kernel' | 'fifo';
  /** What locks, and how a waiter waits. */
  layers: Capabilities['layers'];
  /** Whether this object holds it. */
  held: boolean;
  holders: LockParty[];
  waiters: LockParty[];
}

/** Not exported to users: the base of the locks that are. */
export abstract class FileLock implements Disposable {
  /** The mechanism that serves it: the one that `'auto'` chose. */
  readonly mechanism: MechanismName;
  readonly #place: LockPlace;
  readonly #core: PlacedCore;

  /**
   * Touches no file: the lock file and missing parent folders are created when the lock is first taken.
   * @throws {TypeError} @throws {RangeError} a bad argument
   * @throws {LockUnsupportedError} the mechanism or the fairness that was asked for by name is not available
   */
  constructor(path: string | URL, options?: InterProcessLockOptions) {
    const { followsReplacement, directories } = this;
    const given = { ...lockOptions(options), followsReplacement, directories };
    const place = new LockPlace(lockPath(path), given, this.isBeside);
    this.#place = place;
    this.#core = new PlacedCore(
      this,
      place,
      (canonical) => ({ path: canonical, range: given.range }),
      (name) => {
        const state = pathState(name);
        const backend = selectBackend(place, given, state);
        return new LockCore(place.path, state.queue, backend, systemClock, given.reentrant);
      },
      // A lock of the kernel finds by its open file that the path leads elsewhere.
      ({ backend }) => place.mayMoveUnseen || backend.name === 'lockfile',
    );
    this.mechanism = this.#core.now.backend.name as MechanismName;
  }

  /** The absolute path. */
  get path(): string {
    return this.#place.path;
  }

  /** @internal What serves the next acquisition. */
  protected get core(): LockCore {
    return this.#core.now;
  }

  /** @internal Whether the path is that of a file that the lock lies beside. */
  protected get isBeside(): boolean {
    return false;
  }

  /** @internal Whether a wait goes on with the new file as soon as its file is replaced. */
  protected get followsReplacement(): boolean {
    return false;
  }

  /** @internal Whether a directory at the path may be locked, where the mechanism can do it. */
  protected get directories(): boolean {
    return true;
  }

  /**
   * Whether the lock is held, by this or another process, shared or not: for a look, since the answer may be out of
   * date as soon as it is there (to do something only if the lock is free, use `tryAcquire`). The kernel is asked, so
   * holders of other users and in other containers count too. `fcntl` has such a question. `flock` has none: the lock
   * is taken and given back in some microseconds, in which a try of flock(1) `-n` and other programs may fail;
   * fairlock's notice, where both have the addon, and go on trying: for 5 s at most, should this process be stopped
   * just there.
   * @throws system errors; {LockUnsupportedError}
   */
  isLocked(): boolean {
    return this.core.status.isLocked();
  }

  /** What an error text and a `Lock` of an engine call it: the path. */
  get name(): string {
    return this.path;
  }

  /** Whether a handle of this object holds the lock. */
  get held(): boolean {
    return this.#core.held > 0;
  }

  /** The holders and waiters (best effort where other processes are concerned), and the layer that serves. */
  inspect(): LockInspection {
    const { core, mechanism, held } = this;
    const { fairness, layers } = core.backend.capabilities;
    return { path: this.path, mechanism, fairness, layers, held, ...core.status.now() };
  }

  toJSON(): object {
    const { path, mechanism, held } = this;
    return { path, mechanism, held };
  }

  [INSPECT](_depth: number, options: InspectOptions, util?: typeof inspect): string {
    return inspectAs(this.toJSON(), this.constructor.name, options, util);
  }

  /** Pending waits of this object reject with `LockClosedError`; what is held stays held until it is released. */
  close(): void {
    this.#core.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

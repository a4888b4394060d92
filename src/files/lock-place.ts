/**
 * Where a lock is: its path, what that leads to, and what lies beside it. Made once, by the lock, and asked by all that
 * open a file of it.
 *
 * The links of a path are followed anew for each acquisition, since they may be pointed elsewhere meanwhile (a deploy's
 * `current`). The kernel does that by itself where a lock file is opened, and finds on each grant whether it is still
 * the one at the path. What goes by a name (the queue of a thread, a sidecar, a lock folder, a record) goes by the name
 * that the last `look()` has found.
 */
import { LockUnsupportedError } from '../errors.js';
import { canonicalPath } from './canonical-path.js';
import { type Sibling, siblingPath } from './sibling-files.js';

/** A link that leads elsewhere at each look, so often in a row, is pointed to and fro. */
export const MOST_MOVES = 100;

export function movesTooOften(path: string): LockUnsupportedError {
  return new LockUnsupportedError(path, `its links were pointed elsewhere ${MOST_MOVES} times in a row`);
}

export interface PlaceOptions {
  /** Permissions of what is created. */
  readonly mode: number;
  readonly ignoreUmask: boolean;
  readonly followSymlinks: boolean;
}

export class LockPlace {
  #path = '';
  #canonical = '';

  constructor(
    private readonly given: string,
    readonly options: PlaceOptions,
    /** Whether `given` is a file that the lock lies beside, and not the lock file itself. */
    private readonly isBeside = false,
  ) {
    this.look();
  }

  /** What is opened, and what errors name. */
  get path(): string {
    return this.#path;
  }

  /** The one name of the path however it is spelled, as the last look has found it. */
  get canonical(): string {
    return this.#canonical;
  }

  /** Follows the links again. Whether they lead elsewhere than at the last look. */
  look(): boolean {
    const before = this.#canonical;
    this.#path = this.#pathNow();
    this.#canonical = canonicalPath(this.#path, this.options.followSymlinks);
    return this.#canonical !== before;
  }

  /** Whether the links lead there now. Changes nothing. */
  leadsTo(canonical: string): boolean {
    return canonicalPath(this.#pathNow(), this.options.followSymlinks) === canonical;
  }

  /** Whether the lock's own file is another one when links are pointed elsewhere, without a difference at its path. */
  get mayMoveUnseen(): boolean {
    return this.isBeside;
  }

  sibling(what: Sibling): string {
    return siblingPath(this.#canonical, what);
  }

  #pathNow(): string {
    return this.isBeside ? `${canonicalPath(this.given, true)}.lock` : this.given;
  }
}

/** Found by all copies of this library: what asks for the place of a lock may be of another one. */
const PLACE = Symbol.for('fairlock.place');

export interface Placed {
  readonly [PLACE]: LockPlace;
}

export function setPlace(lock: object, place: LockPlace): void {
  Object.defineProperty(lock, PLACE, { value: place });
}

/** Undefined: no lock on a file, or of a version without places. */
export function placeOf(lock: object): LockPlace | undefined {
  return (lock as Partial<Placed>)[PLACE];
}

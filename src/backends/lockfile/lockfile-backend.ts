/**
 * Mechanism `lockfile`: a folder made by proper-lockfile, kept fresh by a heartbeat. For where nothing native loads.
 */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type * as ProperLockfile from 'proper-lockfile';
import {
  type Backend,
  type Capabilities,
  type Grant,
  type Inspection,
  NO_INSPECTION,
  type PendingAcquire,
  type Stealable,
  type SyncWaitable,
} from '../../core/backend.js';
import {
  codeOf,
  LockLostError,
  LockMismatchError,
  LockUnsupportedError,
  messageOf,
  systemError,
} from '../../errors.js';
import { checkKind, isDanglingLink, isMarked, lockFolderOf, statAt } from '../../files/lock-file.js';
import { type LockPlace, MOST_MOVES, movesTooOften } from '../../files/lock-place.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import { makeFolders } from '../../files/make-folders.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import { quietly } from '../../quietly.js';
import { builtins, here, requireHere } from '../../require.js';
import { PollingRequest, pollSync } from '../poll.js';
import { type TakeoverFs, takeoverFs } from './stale-takeover.js';

/** Each time another process was faster: with proper-lockfile's own pauses that is no chance. */
const MOST_STEALS = 1000;

/** Loaded on first use, since loading it installs signal and exit listeners. */
let properLockfile: typeof ProperLockfile | undefined;

export class LockfileBackend implements Backend, SyncWaitable, Stealable {
  readonly name = 'lockfile';
  readonly capabilities: Capabilities = {
    layers: { lock: 'proper-lockfile', wait: 'poll' },
    fairness: 'kernel',
    answersAtOnce: true,
    isSemaphore: false,
  };
  constructor(
    private readonly place: LockPlace,
    readonly options: InternalLockOptions,
  ) {}

  get path(): string {
    return this.place.path;
  }

  /**
   * The links of the path are followed for each try, and once more when the folder is made: 1. A request finds where the
   * path leads. 2. A link is pointed elsewhere. 3. Another process makes its folder there. 4. This one makes its own in
   * the old place: it takes it back, and tries in the new one.
   */
  tryAcquire(): Grant | null {
    for (let moves = 0; moves < MOST_MOVES; moves++) {
      this.place.look();
      const { canonical } = this.place;
      this.#refuseUnlockable();
      const grant = this.#makeFolder(canonical);
      try {
        // Our register is written; now the other side's is read (see `mark` in lock-file.ts).
        if (grant !== null) this.#refuseMarked(canonical);
        if (grant === null || this.place.leadsTo(canonical)) return grant;
      } catch (error) {
        grant?.unlock();
        throw error;
      }
      grant.unlock();
    }
    throw movesTooOften(this.path);
  }

  request(): PendingAcquire {
    return new PollingRequest(() => this.tryAcquire());
  }

  waitSync(_mode: LockMode, timeout: number): Grant | null {
    return pollSync(() => this.tryAcquire(), timeout);
  }

  overlapsHeld(): boolean {
    return false;
  }

  /** Its owner finds, by its watch or its next heartbeat, that the folder is not its own any more. */
  steal(releaseOwn: () => void): Grant {
    releaseOwn(); // Before it: proper-lockfile keeps one lock for each path.
    for (let steals = 0; steals < MOST_STEALS; steals++) {
      const grant = this.tryAcquire();
      if (grant !== null) return grant;
      rmSync(folderOf(this.place.canonical), { recursive: true, force: true });
    }
    throw systemError(builtins.errno.EBUSY, 'mkdir', folderOf(this.place.canonical));
  }

  /** As proper-lockfile's `check`: there is a folder, and it is not stale. */
  isLocked(): boolean {
    const stat = statAt(folderOf(this.place.canonical), true);
    return stat?.isDirectory() === true && Number(stat.mtimeMs) >= Date.now() - this.options.stale;
  }

  /** A lock folder does not tell which process made it. */
  inspect(): Inspection {
    return NO_INSPECTION;
  }

  dispose(): void {}

  #makeFolder(canonical: string, retries = 100): LockfileGrant | null {
    properLockfile ??= loadProperLockfile(this.path);
    const fs = takeoverFs(this.options.stale);
    const folder = folderOf(canonical);
    const isThere = (): boolean => this.place.leadsTo(canonical);
    const grant = new LockfileGrant(this.path, folder, fs, isThere);
    try {
      grant.unlocker = properLockfile.lockSync(canonical, {
        realpath: false,
        lockfilePath: folder,
        stale: this.options.stale,
        update: this.options.update,
        fs,
        onCompromised: (error) => grant.lose(error),
      });
      return grant;
    } catch (error) {
      if (codeOf(error) === 'ELOCKED') return null;
      const { path } = this;
      const { followSymlinks } = this.options;
      if (codeOf(error) !== 'ENOENT' || retries === 0 || isDanglingLink({ path, followSymlinks })) throw error;
      makeFolders(dirname(folder));
      return this.#makeFolder(canonical, retries - 1);
    }
  }

  #refuseUnlockable(): void {
    const stat = statAt(this.path, this.options.followSymlinks);
    if (stat === undefined) return;
    if (stat.isSymbolicLink()) throw systemError(builtins.errno.ELOOP, 'open', this.path);
    checkKind(this.path, stat, false);
  }

  #refuseMarked(canonical: string): void {
    const stat = statAt(canonical, false);
    if (stat === undefined || !isMarked(canonical, stat)) return;
    throw new LockMismatchError(
      this.path,
      `it carries the mark (sticky bit) of processes that lock it natively (mechanism 'flock' or 'fcntl'), ` +
        `which would not see the lock folder '${folderOf(canonical)}'. ` +
        'Let all use one mechanism; if no process locks it natively any more, take the mark away (chmod -t)',
    );
  }
}

/** Of a lock whose path leads there. */
function folderOf(canonical: string): string {
  return lockFolderOf({ path: canonical, followSymlinks: false });
}

class LockfileGrant implements Grant {
  readonly fd = undefined;
  unlocker: (() => void) | undefined;
  #loss: LockLostError | undefined;
  #onLoss: ((error: Error) => void) | undefined;

  constructor(
    readonly path: string,
    readonly folder: string,
    private readonly fs: TakeoverFs,
    /** Whether the path of the lock still leads to the folder's place. */
    private readonly isThere: () => boolean,
  ) {}

  /** The heartbeat failed or came too late: another process may have the lock. */
  lose(cause: Error): void {
    this.#loss = new LockLostError(this.path, `the heartbeat of its lock folder failed (${messageOf(cause)})`, cause);
    this.#onLoss?.(this.#loss);
  }

  unlock(): void {
    // proper-lockfile leaves the folder of a lock that it thinks is lost. It goes if it is still the one we made; one that
    // is another holder's, or cannot be removed, becomes stale.
    quietly(() => (this.#loss === undefined ? this.unlocker?.() : this.fs.rmdirSync(this.folder)));
  }

  check(): void {
    if (this.#loss !== undefined) throw this.#loss;
    if (!this.#isStill()) throw this.#gone();
  }

  #isStill(): boolean {
    return this.fs.isOurs(this.folder) && this.isThere();
  }

  #gone(): LockLostError {
    return new LockLostError(this.path, 'its lock folder was removed or replaced');
  }

  watch(onLoss: (error: Error) => void): () => void {
    this.#onLoss = onLoss;
    if (this.#loss !== undefined) onLoss(this.#loss);
    const endWatch = watchForLoss(
      this.folder,
      () => this.#isStill(),
      () => onLoss(this.#gone()),
    );
    return () => {
      this.#onLoss = undefined;
      endWatch();
    };
  }
}

/** @throws {LockUnsupportedError} it is not there: what is bundled leaves it behind */
function loadProperLockfile(path: string): typeof ProperLockfile {
  try {
    return requireHere('proper-lockfile') as typeof ProperLockfile;
  } catch (error) {
    const cure =
      "if fairlock was bundled into another program, mark 'fairlock' as external in your bundler, or install " +
      'proper-lockfile beside the bundle';
    throw new LockUnsupportedError(path, `the package proper-lockfile cannot be loaded from ${here}: ${cure}`, error);
  }
}

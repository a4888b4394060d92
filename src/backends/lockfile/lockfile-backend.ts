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
import { codeOf, LockLostError, LockMismatchError, messageOf, systemError } from '../../errors.js';
import { checkKind, isMarked, lockFolderOf, statAt } from '../../files/lock-file.js';
import { watchForLoss } from '../../files/loss-watcher.js';
import { makeFolders } from '../../files/make-folders.js';
import type { InternalLockOptions, LockMode } from '../../options.js';
import { requireHere } from '../../require.js';
import type { PathState } from '../path-state.js';
import { PollingRequest, pollSync } from '../poll.js';
import { type TakeoverFs, takeoverFs } from './stale-takeover.js';

const ELOOP = 40;

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
  /** However the path is spelled. */
  readonly #canonical: string;
  readonly #folder: string;

  constructor(
    readonly path: string,
    readonly options: InternalLockOptions,
    state: PathState,
  ) {
    this.#canonical = state.name.path;
    this.#folder = lockFolderOf({ path: this.#canonical, followSymlinks: false });
  }

  tryAcquire(): Grant | null {
    this.#refuseUnlockable();
    const grant = this.#makeFolder();
    try {
      // Our register is written; now the other side's is read (see `mark` in lock-file.ts).
      if (grant !== null) this.#refuseMarked();
    } catch (error) {
      grant?.unlock();
      throw error;
    }
    return grant;
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
    for (;;) {
      const grant = this.tryAcquire();
      if (grant !== null) return grant;
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  /** As proper-lockfile's `check`: there is a folder, and it is not stale. */
  isLocked(): boolean {
    const stat = statAt(this.#folder, true);
    return stat?.isDirectory() === true && Number(stat.mtimeMs) >= Date.now() - this.options.stale;
  }

  /** A lock folder does not tell which process made it. */
  inspect(): Inspection {
    return NO_INSPECTION;
  }

  dispose(): void {}

  #makeFolder(retries = 100): LockfileGrant | null {
    properLockfile ??= requireHere('proper-lockfile') as typeof ProperLockfile;
    const fs = takeoverFs(this.options.stale);
    const grant = new LockfileGrant(this.path, this.#folder, fs);
    try {
      grant.unlocker = properLockfile.lockSync(this.#canonical, {
        realpath: false,
        lockfilePath: this.#folder,
        stale: this.options.stale,
        update: this.options.update,
        fs,
        onCompromised: (error) => grant.lose(error),
      });
      return grant;
    } catch (error) {
      if (codeOf(error) === 'ELOCKED') return null;
      if (codeOf(error) !== 'ENOENT' || retries === 0) throw error;
      makeFolders(dirname(this.#folder));
      return this.#makeFolder(retries - 1);
    }
  }

  #refuseUnlockable(): void {
    const stat = statAt(this.path, this.options.followSymlinks);
    if (stat === undefined) return;
    if (stat.isSymbolicLink()) throw systemError(ELOOP, 'open', this.path);
    checkKind(this.path, stat, false);
  }

  #refuseMarked(): void {
    const stat = statAt(this.#canonical, false);
    if (stat === undefined || !isMarked(this.#canonical, stat)) return;
    throw new LockMismatchError(
      this.path,
      `it carries the mark (sticky bit) of processes that lock it natively (mechanism 'flock' or 'fcntl'), ` +
        `which would not see the lock folder '${this.#folder}'. ` +
        'Let all use one mechanism; if no process locks it natively any more, take the mark away (chmod -t)',
    );
  }
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
  ) {}

  /** The heartbeat failed or came too late: another process may have the lock. */
  lose(cause: Error): void {
    this.#loss = new LockLostError(this.path, `the heartbeat of its lock folder failed (${messageOf(cause)})`, cause);
    this.#onLoss?.(this.#loss);
  }

  unlock(): void {
    try {
      // proper-lockfile leaves the folder of a lock that it thinks is lost. It goes if it is still the one we made.
      if (this.#loss === undefined) this.unlocker?.();
      else this.fs.rmdirSync(this.folder);
    } catch {
      // The folder is another holder's, or cannot be removed: then it becomes stale.
    }
  }

  watch(onLoss: (error: Error) => void): () => void {
    this.#onLoss = onLoss;
    if (this.#loss !== undefined) onLoss(this.#loss);
    const gone = (): void => onLoss(new LockLostError(this.path, 'its lock folder was removed or replaced'));
    const endWatch = watchForLoss(this.folder, () => this.fs.isOurs(this.folder), gone);
    return () => {
      this.#onLoss = undefined;
      endWatch();
    };
  }
}

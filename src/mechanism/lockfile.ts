/** Mechanism `lockfile`: a folder made by proper-lockfile, kept fresh by a heartbeat. For where nothing native loads. */
import { mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import type * as ProperLockfile from 'proper-lockfile';
import { codeOf, LockLostError, LockMismatchError, systemError } from '../errors.js';
import { checkKind, lockFolderOf, MARK, statAt } from '../file/lock-file.js';
import { watchForLoss } from '../file/loss-watch.js';
import type { ResolvedLockOptions } from '../options.js';
import type { Grant, Granted, Mechanism } from './mechanism.js';
import { poll, pollSync } from './poll.js';
import { takeoverFs } from './takeover.js';

const ELOOP = 40;

/** Loaded on first use, since loading it installs signal and exit listeners. */
let properLockfile: typeof ProperLockfile | undefined;

export class LockfileLock implements Mechanism {
  readonly name = 'lockfile';
  readonly layers = { lock: 'proper-lockfile', wait: 'poll' } as const;
  /** Where the folder is, however the path is spelled. */
  readonly #folder: string;

  constructor(
    readonly path: string,
    readonly canonical: string,
    readonly options: ResolvedLockOptions,
  ) {
    this.#folder = lockFolderOf({ path: canonical, mode: options.mode, followSymlinks: false });
  }

  tryLock(): Grant | null {
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

  wait(_shared: boolean, granted: Granted): () => void {
    return poll(() => this.tryLock(), granted);
  }

  waitSync(_shared: boolean, timeout: number): Grant | null {
    return pollSync(() => this.tryLock(), timeout);
  }

  /** Its owner finds, by its watch or its next heartbeat, that the folder is not its own any more. */
  steal(letGo: () => void): Grant {
    letGo(); // Before it: proper-lockfile keeps one lock for each path.
    for (;;) {
      const grant = this.tryLock();
      if (grant !== null) return grant;
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  dispose(): void {}

  #makeFolder(retries = 100): LockfileGrant | null {
    properLockfile ??= createRequire(import.meta.url)('proper-lockfile') as typeof ProperLockfile;
    const fs = takeoverFs(this.options.stale);
    const grant = new LockfileGrant(this.path, this.#folder, () => fs.isOurs(this.#folder));
    try {
      grant.unlocker = properLockfile.lockSync(this.canonical, {
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
      mkdirSync(dirname(this.#folder), { recursive: true });
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
    const stat = statAt(this.canonical, false);
    if (stat === undefined || (stat.mode & BigInt(MARK)) === 0n) return;
    throw new LockMismatchError(
      this.path,
      `it carries the mark (sticky bit) of processes that lock it natively (mechanism 'flock' or 'fcntl'), which would not see the lock folder '${this.#folder}'. ` +
        'Let all use one mechanism; if nobody locks it natively any more, remove the file',
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
    readonly isOurs: () => boolean,
  ) {}

  /** The heartbeat failed or came too late: somebody else may have the lock. */
  lose(cause: Error): void {
    this.#loss = new LockLostError(this.path, `the heartbeat of its lock folder failed (${cause.message})`, cause);
    this.#onLoss?.(this.#loss);
  }

  unlock(): void {
    try {
      this.unlocker?.();
    } catch {
      // Lost before, or the folder cannot be removed: it will be stale.
    }
  }

  watch(lost: (error: Error) => void): () => void {
    this.#onLoss = lost;
    if (this.#loss !== undefined) lost(this.#loss);
    const gone = (): void => lost(new LockLostError(this.path, 'its lock folder was removed or replaced'));
    const endWatch = watchForLoss(this.folder, this.isOurs, gone);
    return () => {
      this.#onLoss = undefined;
      endWatch();
    };
  }
}

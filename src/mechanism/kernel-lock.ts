/** Locks of the kernel on an open file: what `flock` and `fcntl` have in common. */
import { unlinkSync } from 'node:fs';
import { CONTENDED, GRANTED, type NativeFallback } from '../binding/native-fallback.js';
import { codeOf, LockLostError, LockUnsupportedError, systemError } from '../errors.js';
import type { ResolvedLockOptions } from '../options.js';
import type { FifoQueue } from '../queue/fifo-queue.js';
import { type IdleFiles, idleFilesOf } from './idle-files.js';
import type { KernelCalls } from './kernel-calls.js';
import { type OpenFile, openLockFile } from './lock-file.js';
import { watchForLoss } from './loss-watch.js';
import type { Grant, Granted, Mechanism } from './mechanism.js';
import { ParkedWait, type ParkOutcome } from './parked-wait.js';
import { poll, pollSync } from './poll.js';

/** What the kernel says where a file system has no locks (NFS without lockd, some FUSE) or no OFD locks (EINVAL). */
const NO_LOCKS_HERE = new Set(['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL']);

/** Granted at once on a file just opened, and already not the one at the path: that needs bad luck every time. */
const ORPHANS_IN_A_ROW = 100;

/** A thread that blocks in `acquireSync` looks up this often, so that a Worker can be terminated. */
const SYNC_SLICE_MS = 50;

/**
 * The file rules. Every holder and every wait has an open file of its own: a second lock through the same open file
 * would be granted at once. After every grant the file is compared with the one at the path: it may have been removed
 * between open and lock, and then others lock the new file. A contended file is compared too, so that nobody waits
 * for the holder of an orphan.
 */
export class KernelLock implements Mechanism {
  readonly name: 'flock' | 'fcntl';
  readonly #idle: IdleFiles;

  constructor(
    readonly path: string,
    readonly options: ResolvedLockOptions,
    queue: FifoQueue,
    readonly calls: KernelCalls,
    readonly overlapsHeld?: (() => boolean) | undefined,
  ) {
    this.name = calls.name;
    this.#idle = idleFilesOf(queue);
  }

  get layers(): KernelCalls['layers'] {
    return this.calls.layers;
  }

  tryLock(shared: boolean): Grant | null {
    for (let orphans = 0; orphans < ORPHANS_IN_A_ROW; orphans++) {
      const file = this.#take(shared);
      let status: number;
      try {
        status = this.calls.tryLock(file, shared);
      } catch (error) {
        file.close();
        throw this.#explained(error);
      }
      if (status === GRANTED) return new KernelGrant(this, file, shared);
      if (status === CONTENDED) {
        this.#idle.put(this.calls.key, file);
        return null;
      }
      // Closing drops the lock, if the orphan had given it to us: nobody else has a file that we opened.
      file.close();
    }
    throw new LockUnsupportedError(
      this.path,
      `the file at the path was another one than the file just opened there ${ORPHANS_IN_A_ROW} times in a row; its file system seems to have no stable inode numbers`,
    );
  }

  wait(shared: boolean, granted: Granted): () => void {
    const tryAgain = (): Grant | null => this.tryLock(shared);
    let withdraw: () => void;
    const park = (): void => {
      withdraw = this.#park(shared, onOutcome) ?? poll(tryAgain, granted);
    };
    const onOutcome = (outcome: ParkOutcome): void => {
      try {
        if ('error' in outcome) throw this.#explained(outcome.error);
        // Granted on an orphan: the file was removed or replaced while we waited. Now for the new one.
        const grant = outcome.current ? new KernelGrant(this, outcome.file, shared) : tryAgain();
        if (grant === null) park();
        else granted(undefined, grant);
      } catch (error) {
        granted(error as Error);
      }
    };
    park();
    return () => withdraw();
  }

  waitSync(shared: boolean, timeout: number): Grant | null {
    const { addon } = this.calls;
    if (addon === undefined) return pollSync(() => this.tryLock(shared), timeout);
    const end = performance.now() + timeout;
    for (;;) {
      const file = this.#take(shared);
      const status = this.#parkSync(addon, file, shared, end);
      if (status === GRANTED) return new KernelGrant(this, file, shared);
      file.unlockAndClose(addon);
      if (status === undefined) return null;
      if (status < 0) throw this.#explained(systemError(-status, this.name, this.path));
      const grant = this.tryLock(shared);
      if (grant !== null) return grant;
    }
  }

  dispose(): void {
    this.#idle.clear();
  }

  /** @internal A grant ends here. Never throws: what cannot be unlocked is closed, which unlocks it. */
  unlock(file: OpenFile, shared: boolean, keep: boolean): void {
    try {
      if (this.options.unlinkOnRelease && this.#remove(file, shared)) return file.close();
      this.calls.unlock(file);
      if (keep) this.#idle.put(this.calls.key, file);
      else file.close();
    } catch {
      file.close();
    }
  }

  #take(shared: boolean): OpenFile {
    const { calls } = this;
    const needsWrite = calls.needsWrite(shared);
    const idle = this.#idle.take(calls.key, needsWrite);
    if (idle !== undefined) return idle;
    const file = openLockFile({ path: this.path, ...this.options }, { needsWrite, directories: calls.directories });
    calls.opened(file);
    return file;
  }

  /** Undefined where there is no thread to wait on. */
  #park(shared: boolean, onOutcome: (outcome: ParkOutcome) => void): (() => void) | undefined {
    const { addon } = this.calls;
    if (addon === undefined) return undefined;
    const withdraw = (wait: ParkedWait) => (): void => {
      if (!wait.cancel()) this.#idle.abandoned.push(wait);
    };
    const abandoned = this.#idle.abandoned.findIndex((one) => one.shared === shared && one.key === this.calls.key);
    const [orphan] = abandoned < 0 ? [] : this.#idle.abandoned.splice(abandoned, 1);
    if (orphan?.adopt(onOutcome)) return withdraw(orphan);
    const file = this.#take(shared);
    try {
      return withdraw(new ParkedWait(addon, file, shared, this.calls.key, this.name, this.path, onOutcome));
    } catch (error) {
      file.close();
      if (codeOf(error) === 'EAGAIN') return undefined;
      throw error;
    }
  }

  /** Undefined: not granted before `end`. */
  #parkSync(addon: NativeFallback, file: OpenFile, shared: boolean, end: number): number | undefined {
    const wait = addon.waitSync(file.nativeFile, shared);
    if (typeof wait === 'number') return wait;
    for (let left = end - performance.now(); left > 0; left = end - performance.now()) {
      const status = addon.join(wait, Math.min(left, SYNC_SLICE_MS));
      if (status !== undefined) return status;
    }
    addon.cancel(wait);
    return undefined;
  }

  /**
   * Removal is safe only by one who holds the whole file exclusively: every other fairlock process that has it open
   * then finds, on its grant, that it is not at the path any more. A reader first has to become such a one; it lets
   * go of its share, tries without waiting, and leaves the file to whoever has it if that fails.
   */
  #remove(file: OpenFile, shared: boolean): boolean {
    const { calls } = this;
    if (shared) {
      calls.unlock(file);
      if (!file.writable || calls.tryLock(file, false) !== GRANTED) return false;
    } else if (!calls.isCurrent(file)) {
      return true;
    }
    try {
      unlinkSync(this.path);
    } catch {
      // A folder without write permission, say: the file stays, which is harmless.
    }
    calls.unlock(file);
    return true;
  }

  #explained(error: unknown): unknown {
    const code = codeOf(error) ?? '';
    if (!NO_LOCKS_HERE.has(code)) return error;
    return new LockUnsupportedError(this.path, `${this.name} locks do not work on its file system (${code})`, error);
  }
}

class KernelGrant implements Grant {
  #shown = false;

  constructor(
    private readonly lock: KernelLock,
    private readonly file: OpenFile,
    private readonly shared: boolean,
  ) {}

  get fd(): number {
    this.#shown = true;
    return this.file.fd;
  }

  unlock(): void {
    // A descriptor that was shown may live on in a child: its open file must not carry a later lock of ours.
    this.lock.unlock(this.file, this.shared, !this.#shown);
  }

  watch(lost: (error: Error) => void): () => void {
    const gone = (): void => lost(new LockLostError(this.lock.path, 'its file was removed or replaced'));
    return watchForLoss(this.lock.path, () => this.lock.calls.isCurrent(this.file), gone);
  }
}

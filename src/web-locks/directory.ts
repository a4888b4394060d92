/** The requests of this thread in one directory: which are held, which are pending, what becomes of them. */
import { existsSync } from 'node:fs';
import { throwIfAborted } from '../abort.js';
import { codeOf } from '../errors.js';
import { FollowingWait, MOVED } from '../following-wait.js';
import type { LockHandle } from '../index.js';
import { sidecarOf } from '../inspect/index.js';
import { Deadline, setImmediate, setTimeout } from '../timers.js';
import { Lock, type LockMode, MAKER } from './lock.js';
import { CLIENT_ID, inOtherProcesses, inOtherThreads, publishInfo } from './lock-infos.js';
import { NamedLock } from './named-lock.js';
import type { LockGrantedCallback, LockInfo, LockManagerSnapshot } from './types.js';

export interface RequestOptions {
  name: string;
  mode: LockMode;
  ifAvailable: boolean;
  steal: boolean;
  signal: AbortSignal | undefined;
}

/** How often, and how many ms apart, a file that may have been left is looked at. */
const TIDY_TRIES = 5;
const TIDY_MS = 10;
/** How long, and how many ms apart, a stealer goes on trying while another process removes the file. */
const BUSY_MS = 5_000;
const BUSY_AGAIN_MS = 5;
/** So often in a row is no theft: the file system loses what was locked. */
const MOST_LOST = 1000;

/** Directories with requests, so that all lock managers of the thread see them. */
const inUse = new Map<string, Directory>();

export class Directory {
  /** In the order in which they were made or, once held, granted. */
  readonly #requests = new Set<Request>();
  readonly #locks = new Map<string, { lock: NamedLock; uses: number }>();

  private constructor(readonly path: string) {}

  static at(path: string): Directory {
    return inUse.get(path) ?? new Directory(path);
  }

  /** https://www.w3.org/TR/web-locks/#request-a-lock */
  async request<T>(
    options: RequestOptions,
    callback: LockGrantedCallback<T>,
    isThere: () => boolean,
  ): Promise<Awaited<T>> {
    const request = this.#enter(options);
    try {
      // A lock that is free is held at once, so that a stealer in this very turn finds it.
      const handle = this.#now(request, options);
      if (handle !== null) this.#hold(request, handle);
      else if (options.ifAvailable) this.#leave(request);
      else if (options.steal) this.#hold(request, await this.#stealLater(request, options.name));
      else this.#hold(request, await this.#later(request, options, isThere));
      if (!isThere()) throw MOVED;
      await undefined; // No callback runs before `request` has returned.
      if (handle === null && options.ifAvailable) return await callback(null);
      throwIfAborted(options.signal);
      // Also if it was stolen by now: the standard's grant is followed by the callback, whatever happens in between.
      const working = (async () => callback(new Lock(MAKER, options.name, options.mode, request.signal)))();
      return await Promise.race([request.stolen, working]);
    } finally {
      this.#leave(request);
    }
  }

  /** https://www.w3.org/TR/web-locks/#snapshot-the-lock-state */
  async query(): Promise<LockManagerSnapshot> {
    await new Promise<void>((resolve) => setImmediate(resolve)); // What was granted in this turn is published by then.
    const own = (held: boolean): Required<LockInfo>[] => {
      return [...this.#requests]
        .filter(({ handle }) => (handle !== undefined) === held)
        .map(({ info }) => ({ ...info }));
    };
    const [threads, processes] = [inOtherThreads(this.path), inOtherProcesses(this.path)];
    return {
      held: [...own(true), ...threads.held, ...processes.held],
      pending: [...own(false), ...threads.pending, ...processes.pending],
    };
  }

  #now(request: Request, { name, mode, steal }: RequestOptions): LockHandle | null {
    const { lock } = this.#lockOf(name);
    if (steal) return this.#stealUnlessBusy(request, lock);
    return mode === 'shared' ? lock.tryAcquireRead() : lock.tryAcquireWrite();
  }

  async #later(request: Request, { name, mode, signal }: RequestOptions, isThere: () => boolean): Promise<LockHandle> {
    const { lock } = this.#lockOf(name);
    const wait = new FollowingWait(signal, () => !isThere());
    const options = { signal: wait.signal };
    const acquire = (): Promise<LockHandle> =>
      mode === 'shared' ? lock.acquireRead(options) : lock.acquireWrite(options);
    let waiting = acquire();
    // Once it is queued: what is seen as pending comes before any later request.
    request.unpublish = publishInfo(this.path, false, request.info);
    try {
      for (let lost = 0; ; waiting = acquire()) {
        const handle = await waiting;
        // If it was stolen before we learned of the grant, no callback has seen it, and we go on waiting.
        if (!handle.signal.aborted) return handle;
        handle.release();
        if (++lost === MOST_LOST) throw handle.signal.reason;
      }
    } catch (error) {
      tidy(this.path, name);
      throw error;
    } finally {
      wait.end();
    }
  }

  /** Null: another process is removing or replacing the file. */
  #stealUnlessBusy(request: Request, lock: NamedLock): LockHandle | null {
    try {
      return this.#steal(request, lock);
    } catch (error) {
      if (codeOf(error) !== 'EBUSY') throw error;
      return null;
    }
  }

  /** Without blocking this thread for the other process, which may be stopped. @throws EBUSY it goes on for too long */
  async #stealLater(request: Request, name: string): Promise<LockHandle> {
    const deadline = new Deadline(BUSY_MS);
    while (deadline.left > 0) {
      await new Promise<void>((resolve) => setTimeout(resolve, BUSY_AGAIN_MS));
      const handle = this.#stealUnlessBusy(request, this.#lockOf(name).lock);
      if (handle !== null) return handle;
    }
    return this.#steal(request, this.#lockOf(name).lock);
  }

  #steal(request: Request, lock: NamedLock): LockHandle {
    const stolen = [...this.#requests].filter(
      (one) => one !== request && one.info.name === request.info.name && one.handle !== undefined,
    );
    const handle = lock.steal(stolen.flatMap((one) => one.handle ?? []));
    for (const one of stolen) {
      this.#leave(one);
      one.lose();
    }
    return handle;
  }

  #enter({ name, mode }: RequestOptions): Request {
    const request = new Request({ name, mode, clientId: CLIENT_ID });
    if (this.#requests.size === 0) inUse.set(this.path, this);
    this.#requests.add(request);
    this.#lockOf(name).uses++;
    return request;
  }

  #hold(request: Request, handle: LockHandle): void {
    request.handle = handle;
    this.#requests.delete(request);
    this.#requests.add(request);
    request.unpublish();
    request.unpublish = publishInfo(this.path, true, request.info);
    const lose = (): void => {
      this.#leave(request);
      request.lose();
    };
    handle.signal.addEventListener('abort', lose);
    if (handle.signal.aborted) lose();
  }

  #leave(request: Request): void {
    if (!this.#requests.delete(request)) return;
    request.unpublish();
    request.handle?.release();
    const { name } = request.info;
    const entry = this.#lockOf(name);
    if (--entry.uses === 0) {
      entry.lock.close();
      this.#locks.delete(name);
    }
    if (this.#requests.size === 0) inUse.delete(this.path);
  }

  #lockOf(name: string): { lock: NamedLock; uses: number } {
    const entry = this.#locks.get(name) ?? { lock: new NamedLock(this.path, name), uses: 0 };
    this.#locks.set(name, entry);
    return entry;
  }
}

class Request {
  handle: LockHandle | undefined;
  unpublish: () => void = () => {};
  /** Rejects when the lock is lost. */
  readonly stolen: Promise<never>;
  #reject: (reason: unknown) => void = () => {};
  readonly #controller = new AbortController();

  constructor(readonly info: Required<LockInfo>) {
    this.stolen = new Promise((_, reject) => {
      this.#reject = reject;
    });
    // Where no code waits for it, it is no unhandled rejection.
    this.stolen.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  lose(): void {
    const reason = new DOMException(`The lock '${this.info.name}' was stolen`, 'AbortError');
    this.#reject(reason);
    this.#controller.abort(reason);
  }
}

/**
 * Removes the file that a cancelled request may have left: requests before it left the file to it. A holder of the lock
 * removes the file itself. The holder may be our own wait, which is still being cancelled: so the file is looked at
 * several times.
 */
function tidy(directory: string, name: string, tries = TIDY_TRIES): void {
  const lock = new NamedLock(directory, name);
  try {
    if (!existsSync(lock.path) && !existsSync(sidecarOf(lock.path))) return;
    const handle = lock.tryAcquireWrite();
    if (handle !== null) handle.release();
    else if (tries > 0) setTimeout(() => tidy(directory, name, tries - 1), TIDY_MS); // A process that ends waits for it.
  } catch {
    // Nothing that the caller of the cancelled request should learn of.
  } finally {
    lock.close();
  }
}

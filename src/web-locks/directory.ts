/** The requests of this thread in one directory: which are held, which are pending, what becomes of them. */
import { existsSync } from 'node:fs';
import { throwIfAborted } from '../abort.js';
import { sidecarOf } from '../backends/fifo/ticket-queue.js';
import type { LockHandle } from '../index.js';
import { setImmediate, setTimeout, unref } from '../timers.js';
import { Lock, type LockMode, MAKER } from './lock.js';
import { NamedLock } from './named-lock.js';
import { CLIENT_ID, inOtherProcesses, inOtherThreads, tellThreads } from './others.js';
import type { LockGrantedCallback, LockInfo, LockManagerSnapshot } from './types.js';

export interface Wish {
  name: string;
  mode: LockMode;
  ifAvailable: boolean;
  steal: boolean;
  signal: AbortSignal | undefined;
}

/** How often, and how many ms apart, a file that may have been left behind is looked after. */
const TIDY_TRIES = 5;
const TIDY_MS = 10;

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
  async request<T>(wish: Wish, callback: LockGrantedCallback<T>): Promise<Awaited<T>> {
    const request = this.#enter(wish);
    try {
      // What is to be had at once is held at once, so that a thief of this very turn finds it.
      const handle = this.#now(request, wish);
      if (handle !== null) this.#hold(request, handle);
      else if (wish.ifAvailable) this.#leave(request);
      else this.#hold(request, await this.#later(request, wish));
      await undefined; // No callback runs before `request` has returned.
      if (handle === null && wish.ifAvailable) return await callback(null);
      throwIfAborted(wish.signal);
      // Also if it was stolen by now: the standard's grant is followed by the callback, whatever happens in between.
      const working = (async () => callback(new Lock(MAKER, wish.name, wish.mode, request.signal)))();
      return await Promise.race([request.robbed, working]);
    } finally {
      this.#leave(request);
    }
  }

  /** https://www.w3.org/TR/web-locks/#snapshot-the-lock-state */
  async query(): Promise<LockManagerSnapshot> {
    await new Promise<void>((resolve) => setImmediate(resolve)); // What was granted in this turn is told by then.
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

  #now(request: Request, { name, mode, steal }: Wish): LockHandle | null {
    const { lock } = this.#lockOf(name);
    if (steal) return this.#steal(request, lock);
    return mode === 'shared' ? lock.tryAcquireRead() : lock.tryAcquireWrite();
  }

  async #later(request: Request, { name, mode, signal }: Wish): Promise<LockHandle> {
    const { lock } = this.#lockOf(name);
    const options = signal === undefined ? {} : { signal };
    request.untell = tellThreads(this.path, false, request.info);
    try {
      for (;;) {
        const handle = await (mode === 'shared' ? lock.acquireRead(options) : lock.acquireWrite(options));
        // If it was stolen before we were told of it, nobody has seen it, and we go on waiting.
        if (!handle.signal.aborted) return handle;
        handle.release();
      }
    } catch (error) {
      tidy(this.path, name);
      throw error;
    }
  }

  #steal(request: Request, lock: NamedLock): LockHandle {
    const robbed = [...this.#requests].filter(
      (one) => one !== request && one.info.name === request.info.name && one.handle !== undefined,
    );
    const handle = lock.steal(robbed.flatMap((one) => one.handle ?? []));
    for (const one of robbed) {
      this.#leave(one);
      one.rob();
    }
    return handle;
  }

  #enter({ name, mode }: Wish): Request {
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
    request.untell();
    request.untell = tellThreads(this.path, true, request.info);
    const rob = (): void => {
      this.#leave(request);
      request.rob();
    };
    handle.signal.addEventListener('abort', rob);
    if (handle.signal.aborted) rob();
  }

  #leave(request: Request): void {
    if (!this.#requests.delete(request)) return;
    request.untell();
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
  untell: () => void = () => {};
  /** Rejects when the lock is lost. */
  readonly robbed: Promise<never>;
  #reject: (reason: unknown) => void = () => {};
  readonly #controller = new AbortController();

  constructor(readonly info: Required<LockInfo>) {
    this.robbed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    // Where it is not waited for, it is not missed.
    this.robbed.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  rob(): void {
    const reason = new DOMException(`The lock '${this.info.name}' was stolen`, 'AbortError');
    this.#reject(reason);
    this.#controller.abort(reason);
  }
}

/**
 * Who gives up may be the last to leave: those before it left the file to it. If somebody has the lock, he will remove it.
 * Our own wait, which is still being called off, may be that somebody: so it is looked at some times more.
 */
function tidy(directory: string, name: string, tries = TIDY_TRIES): void {
  const lock = new NamedLock(directory, name);
  try {
    if (!existsSync(lock.path) && !existsSync(sidecarOf(lock.path))) return;
    const handle = lock.tryAcquireWrite();
    if (handle !== null) handle.release();
    else if (tries > 0) unref(setTimeout(() => tidy(directory, name, tries - 1), TIDY_MS));
  } catch {
    // Nothing that the one who gave up should hear of.
  } finally {
    lock.close();
  }
}

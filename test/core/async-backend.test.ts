/** A backend of twenty lines whose try is asynchronous, as one on a network would be: the common suite runs over it. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { inProcess } from '../../src/backends/in-process.js';
import { type Backend, type Done, type Grant, NO_INSPECTION, type PendingAcquire } from '../../src/core/backend.js';
import { systemClock } from '../../src/core/clock.js';
import { FifoQueue } from '../../src/core/fifo-queue.js';
import type { LockHandle } from '../../src/core/handle.js';
import { LockCore } from '../../src/core/lock-core.js';
import type { AcquireOptions } from '../../src/options.js';
import { lockSuite } from '../suites/lock.js';

/** A lock that lives elsewhere: each question takes a while. */
class Remote {
  isHeld = false;
  readonly waiting: (() => void)[] = [];

  async tryLock(): Promise<Grant | null> {
    await setImmediate();
    if (this.isHeld) return null;
    this.isHeld = true;
    return { fd: undefined, unlock: () => this.#unlock(), check: () => {}, watch: () => () => {} };
  }
  #unlock(): void {
    this.isHeld = false;
    for (const wake of this.waiting.splice(0)) wake();
  }
}

class RemoteBackend implements Backend {
  readonly name = undefined;
  readonly capabilities = { ...inProcess.capabilities, answersAtOnce: false };

  constructor(private readonly remote: Remote) {}

  tryAcquire(): Promise<Grant | null> {
    return this.remote.tryLock();
  }
  request(): PendingAcquire {
    let isCancelled = false;
    const start = async (done: Done): Promise<void> => {
      for (;;) {
        const grant = await this.remote.tryLock();
        if (isCancelled) return grant?.unlock();
        if (grant !== null) return done(undefined, grant);
        await new Promise<void>((wake) => this.remote.waiting.push(wake));
      }
    };
    const cancel = (): void => {
      isCancelled = true;
    };
    return { start: (done) => void start(done), cancel };
  }
  isLocked = (): boolean => this.remote.isHeld;
  inspect = () => NO_INSPECTION;
  dispose(): void {}
}

class RemoteLock {
  readonly #core: LockCore;
  constructor(remote = new Remote()) {
    this.#core = new LockCore(undefined, new FifoQueue(), new RemoteBackend(remote), systemClock);
  }
  get held(): boolean {
    return this.#core.held > 0;
  }
  acquire(options?: AcquireOptions): Promise<LockHandle> {
    return this.#core.acquire('exclusive', options);
  }
  async tryAcquire(): Promise<LockHandle | null> {
    return this.#core.tryAcquireLater('exclusive');
  }
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T> {
    return this.#core.with('exclusive', fn, options);
  }
  close(): void {
    this.#core.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
  acquireSync(): LockHandle {
    return this.#core.acquireSync('exclusive', undefined);
  }
}

lockSuite('a lock whose backend answers later', () => new RemoteLock());

describe('two threads with such a backend', () => {
  it('exclude each other, and a request that arrives while a try is under way queues', async () => {
    const remote = new Remote();
    const [here, there] = [new RemoteLock(remote), new RemoteLock(remote)];
    const handle = await there.acquire();
    const trying = here.tryAcquire();
    const waiting = here.acquire();
    expect(await trying).toBeNull();
    expect(here.held).toBe(false);
    handle.release();
    (await waiting).release();
    expect(remote.isHeld).toBe(false);
  });

  it('a grant that comes after the cancellation is undone', async () => {
    const remote = new Remote();
    const lock = new RemoteLock(remote);
    const controller = new AbortController();
    const wait = lock.acquire({ signal: controller.signal });
    controller.abort('enough');
    await expect(wait).rejects.toBe('enough');
    await setImmediate();
    await setImmediate();
    expect(remote.isHeld).toBe(false);
  });

  it('has no acquireSync: LockUnsupportedError', () => {
    expect(() => new RemoteLock().acquireSync()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_UNSUPPORTED' }));
  });
});

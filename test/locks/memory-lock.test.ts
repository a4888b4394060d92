/** The double in memory does what the locks do that it stands for, and what a test asks of it. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LockClosedError, LockDeadlockError, LockLostError, LockTimeoutError } from '../../src/index.js';
import { memoryLock } from '../../src/testing/index.js';
import { lockSuite } from '../suites/lock.js';
import { readerWriterSuite } from '../suites/reader-writer-lock.js';

for (const fairness of ['kernel', 'fifo'] as const) {
  lockSuite(`memoryLock, ${fairness}`, () => memoryLock({ fairness }));
  readerWriterSuite(`memoryLock, ${fairness}`, () => memoryLock({ fairness }));
}

describe('memoryLock', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each(['kernel', 'fifo'] as const)('waits while it is held elsewhere: %s', async (fairness) => {
    const lock = memoryLock({ fairness });
    const theirs = await lock.elsewhere.acquire();
    expect([lock.tryAcquire(), lock.isLocked(), lock.held]).toEqual([null, true, false]);
    expect(lock.inspect().holders).toEqual([{ pid: 0, shared: false, command: 'elsewhere' }]);
    const waiting = lock.acquire();
    theirs.release();
    theirs.release(); // Once more: it frees no other holder.
    const handle = await waiting;
    expect([lock.elsewhere.tryAcquire(), handle.fd]).toEqual([null, undefined]);
    handle.release();
    const next = lock.elsewhere.tryAcquire();
    expect(next).not.toBeNull();
    next?.[Symbol.dispose]();
  });

  it('in strict order serves both sides by their requests; in the kernel’s order a newcomer may be served first', async () => {
    for (const fairness of ['fifo', 'kernel'] as const) {
      const lock = memoryLock({ fairness });
      const first = await lock.elsewhere.acquire();
      const waiting = lock.acquire();
      first.release();
      const newcomer = lock.elsewhere.tryAcquire();
      expect(newcomer === null).toBe(fairness === 'fifo');
      newcomer?.release();
      const handle = await waiting;
      const after = lock.elsewhere.acquire();
      const last = lock.acquire();
      handle.release();
      (await after).release();
      (await last).release();
    }
  });

  it('times out by fake timers', async () => {
    vi.useFakeTimers();
    const lock = memoryLock();
    await lock.elsewhere.acquire();
    const waiting = lock.acquire({ timeout: 60_000 }).catch((error) => error);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await waiting).toBeInstanceOf(LockTimeoutError);
  });

  it('is lost on demand', async () => {
    const lock = memoryLock();
    const handle = await lock.acquire();
    const { signal } = handle;
    handle.check();
    lock.lose('the disk was pulled');
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(signal.reason.message).toContain('the disk was pulled');
    expect(() => handle.check()).toThrow(LockLostError);
    expect((await lock.elsewhere.acquire()).release()).toBeUndefined();
    handle.release();
  });

  it('is lost also by a handle that waited', async () => {
    const lock = memoryLock();
    const theirs = await lock.elsewhere.acquire();
    const waiting = lock.acquire();
    theirs.release();
    const handle = await waiting;
    lock.lose();
    expect(handle.signal.aborted).toBe(true);
    handle.release();
  });

  it.each(['kernel', 'fifo'] as const)('waits fail on demand, and the lock goes on: %s', async (fairness) => {
    const lock = memoryLock({ fairness });
    const theirs = await lock.elsewhere.acquire();
    const error = new Error('on fire');
    const waiting = lock.acquire().catch((reason) => reason);
    await Promise.resolve();
    lock.failWaits(error);
    expect(await waiting).toBe(error);
    const next = lock.acquire();
    theirs.release();
    (await next).release();
  });

  it('of one name is one lock', async () => {
    const [one, other] = [memoryLock({ name: 'jobs' }), memoryLock({ name: 'jobs' })];
    const handle = await one.acquire();
    expect([other.tryAcquire(), other.isLocked(), other.held]).toEqual([null, true, false]);
    const waiting = other.acquire();
    handle.release();
    (await waiting).release();
    expect(memoryLock().path).not.toBe(memoryLock().path);
  });

  it('with permits is a semaphore', async () => {
    const semaphore = memoryLock({ permits: 2 });
    const held = [await semaphore.acquire(), await semaphore.elsewhere.acquire()];
    expect([semaphore.tryAcquire(), semaphore.isLocked()]).toEqual([null, true]);
    const waiting = semaphore.withPermit(() => 'served');
    held[0]?.release();
    expect(await waiting).toBe('served');
    held[1]?.release();
    expect(() => memoryLock({ name: semaphore.path, permits: 3 })).toThrow(/another number of permits/);
  });

  it('a cancelled wait leaves nothing', async () => {
    for (const fairness of ['kernel', 'fifo'] as const) {
      const lock = memoryLock({ fairness });
      const theirs = await lock.elsewhere.acquire();
      const controller = new AbortController();
      const waiting = lock.acquire({ signal: controller.signal }).catch((reason) => reason);
      controller.abort('enough');
      expect(await waiting).toBe('enough');
      theirs.release();
      await Promise.resolve();
      expect(lock.isLocked()).toBe(false);
    }
  });

  it('acquireSync takes what is free, and does not block the thread for its own code', async () => {
    const lock = memoryLock();
    lock.acquireSync().release();
    const theirs = await lock.elsewhere.acquire();
    expect(() => lock.acquireSync()).toThrow(LockDeadlockError);
    theirs.release();
  });

  it('re-enters, closes', async () => {
    const lock = memoryLock({ reentrant: true });
    expect(await lock.withLock(() => lock.withLock(() => 'inner'))).toBe('inner');
    await lock.elsewhere.acquire();
    const waiting = lock.acquire().catch((error) => error);
    lock.close();
    expect(await waiting).toBeInstanceOf(LockClosedError);
  });

  it.each([[{ name: '' }], [{ permits: 0 }], [{ fairness: 'fair' }], [{ nmae: 'x' }]])('refuses %j', (options) => {
    expect(() => memoryLock(options as object)).toThrow(/expected|no such option/);
  });
});

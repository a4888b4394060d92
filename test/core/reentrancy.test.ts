import { describe, expect, it } from 'vitest';
import { InterProcessLock, InterProcessReaderWriterLock, type LockHandle, type WaitInfo } from '../../src/index.js';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor } from '../support/programs.js';
import { outcome, settle } from '../support/waiting.js';

const { path } = testFolder();
const REENTRANT = { reentrant: true } as const;

describe('reentrant: true', () => {
  it('a context that holds acquires again without waiting; the last release frees', async () => {
    const lock = new InterProcessLock(path(), REENTRANT);
    let kept: LockHandle | undefined;
    await lock.withLock(async (outer) => {
      expect(lock.tryAcquire()?.release()).toBeUndefined();
      await lock.withLock(async () => {
        kept = await lock.acquire();
        lock.acquireSync().release();
      });
      expect(outer.released).toBe(false);
    });
    expect(lock.held).toBe(true);
    const other = new InterProcessLock(lock.path);
    expect(other.tryAcquire()).toBeNull();
    kept?.release();
    expect(lock.held).toBe(false);
    other.tryAcquire()?.release();
  });

  it('other contexts wait, also those that were begun beside or inside and outlive it', async () => {
    const lock = new InterProcessLock(path(), REENTRANT);
    let late: (() => ReturnType<typeof lock.tryAcquire>) | undefined;
    let end: () => void = () => {};
    const inside = lock.withLock(async () => {
      const { AsyncResource } = await import('node:async_hooks');
      late = AsyncResource.bind(() => lock.tryAcquire());
      await new Promise<void>((resolve) => {
        end = resolve;
      });
    });
    const beside = outcome(lock.withLock(() => 'beside'));
    await settle();
    expect([beside.state, lock.tryAcquire()]).toEqual(['pending', null]);
    await settle();
    end();
    await inside;
    await settle();
    expect(beside.state).toBe('fulfilled');
    // The context is gone with the hold: what still runs in it has no claim.
    const holder = await lock.acquire();
    expect(late?.()).toBeNull();
    holder.release();
  });

  it('two tasks of one caller are two contexts', async () => {
    const lock = new InterProcessLock(path(), REENTRANT);
    let inside = 0;
    const task = (): Promise<void> =>
      lock.withLock(async () => {
        expect(++inside).toBe(1);
        await settle();
        inside--;
      });
    await Promise.all([task(), task(), task()]);
  });

  it.runIf(hasFlock)('excludes other processes until the last release', async () => {
    const lock = new InterProcessLock(path(), REENTRANT);
    const other = Actor.start();
    await other.call('create', 'InterProcessLock', lock.path, REENTRANT);
    let inner: LockHandle | undefined;
    await lock.withLock(async () => {
      inner = await lock.acquire();
    });
    expect(await other.call('tryAcquire')).toBe(false);
    inner?.release();
    expect(await other.call('tryAcquire')).toBe(true);
  });

  it.runIf(hasFlock)('readers and writers re-enter as what they are', async () => {
    const lock = new InterProcessReaderWriterLock(path(), { ...REENTRANT, ...(hasFcntl ? { fairness: 'fifo' } : {}) });
    await lock.withReadLock(() => lock.withReadLock(({ shared }) => expect(shared).toBe(true)));
    await lock.withWriteLock(() => lock.withWriteLock(({ shared }) => expect(shared).toBe(false)));
    await lock.withReadLock(() => expect(lock.acquireWrite()).rejects.toMatchObject({ code: 'ERR_LOCK_DEADLOCK' }));
  });
});

describe('reentrant: false', () => {
  it('a context that waits for the lock it holds is told so by onWait', async () => {
    const lock = new InterProcessLock(path());
    // No timeout: the holders are looked up before onWait is called, which may take longer.
    const told = async (): Promise<WaitInfo> => {
      using asker = new InterProcessLock(lock.path);
      return await new Promise((resolve) => {
        asker.acquire({ waitNotice: 1, onWait: resolve }).catch(() => {});
      });
    };
    await lock.withLock(async () => expect((await told()).warning).toContain('holds the lock itself'));
    const holder = await lock.acquire();
    expect((await told()).warning).toBeUndefined();
    holder.release();
  });

  it('is checked', () => {
    expect(() => new InterProcessLock(path(), { reentrant: 1 as never })).toThrow(TypeError);
  });
});

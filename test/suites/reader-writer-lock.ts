/** What every reader/writer lock of this library does. */
import { describe, expect, it } from 'vitest';
import type { AcquireOptions, LockHandle } from '../../src/index.js';
import { outcome, settle, until } from '../support/waiting.js';

interface ReadWriteLock {
  acquireRead(options?: AcquireOptions): Promise<LockHandle>;
  acquireWrite(options?: AcquireOptions): Promise<LockHandle>;
  /** Promises where what is behind the lock answers later. */
  tryAcquireRead(): LockHandle | null | Promise<LockHandle | null>;
  tryAcquireWrite(): LockHandle | null | Promise<LockHandle | null>;
  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
}

export function readerWriterSuite(name: string, create: () => ReadWriteLock): void {
  describe(name, () => {
    it('readers share, a writer is alone', async () => {
      const lock = create();
      const readers = [await lock.acquireRead(), await lock.acquireRead()];
      expect(readers.map((reader) => reader.shared)).toEqual([true, true]);
      expect(await lock.tryAcquireWrite()).toBeNull();
      for (const reader of readers) reader.release();
      const writer = await lock.acquireWrite();
      expect(writer.shared).toBe(false);
      expect([await lock.tryAcquireRead(), await lock.tryAcquireWrite()]).toEqual([null, null]);
      writer.release();
      (await lock.tryAcquireRead())?.release();
    });

    it('consecutive readers enter together; a waiting writer stops later readers', async () => {
      const lock = create();
      const first = await lock.acquireRead();
      const writer = outcome(lock.acquireWrite());
      const later = [outcome(lock.acquireRead()), outcome(lock.acquireRead())];
      expect(await lock.tryAcquireRead()).toBeNull();
      await settle();
      expect([writer.state, ...later.map(({ state }) => state)]).toEqual(['pending', 'pending', 'pending']);
      first.release();
      await until(() => writer.state === 'fulfilled');
      await settle();
      expect(later.map(({ state }) => state)).toEqual(['pending', 'pending']);
      writer.value?.release();
      await until(() => later.every(({ state }) => state === 'fulfilled'));
      for (const { value } of later) value?.release();
    });

    it('readers behind a writer that cancels enter', async () => {
      const lock = create();
      const first = await lock.acquireRead();
      const controller = new AbortController();
      const writer = outcome(lock.acquireWrite({ signal: controller.signal }));
      const reader = outcome(lock.acquireRead());
      controller.abort();
      await until(() => reader.state === 'fulfilled');
      expect(writer.state).toBe('rejected');
      first.release();
      reader.value?.release();
    });

    it('the with forms pass results on and release', async () => {
      const lock = create();
      expect(await lock.withReadLock(async ({ shared }) => shared)).toBe(true);
      expect(await lock.withWriteLock(({ shared }) => shared)).toBe(false);
      (await lock.tryAcquireWrite())?.release();
    });
  });
}

/** What every reader/writer lock of this library does. */
import { describe, expect, it } from 'vitest';
import type { AcquireOptions, LockHandle } from '../../src/index.js';
import { outcome, settle } from '../support/waiting.js';

interface ReadWriteLock {
  acquireRead(options?: AcquireOptions): Promise<LockHandle>;
  acquireWrite(options?: AcquireOptions): Promise<LockHandle>;
  tryAcquireRead(): LockHandle | null;
  tryAcquireWrite(): LockHandle | null;
  withReadLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
  withWriteLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>): Promise<T>;
}

export function readerWriterSuite(name: string, create: () => ReadWriteLock): void {
  describe(name, () => {
    it('readers share, a writer is alone', async () => {
      const lock = create();
      const readers = [await lock.acquireRead(), await lock.acquireRead()];
      expect(readers.map((reader) => reader.shared)).toEqual([true, true]);
      expect(lock.tryAcquireWrite()).toBeNull();
      for (const reader of readers) reader.release();
      const writer = await lock.acquireWrite();
      expect(writer.shared).toBe(false);
      expect([lock.tryAcquireRead(), lock.tryAcquireWrite()]).toEqual([null, null]);
      writer.release();
      lock.tryAcquireRead()?.release();
    });

    it('consecutive readers enter together; a waiting writer stops later readers', async () => {
      const lock = create();
      const first = await lock.acquireRead();
      const writer = outcome(lock.acquireWrite());
      const later = [outcome(lock.acquireRead()), outcome(lock.acquireRead())];
      expect(lock.tryAcquireRead()).toBeNull();
      await settle();
      expect([writer.state, ...later.map(({ state }) => state)]).toEqual(['pending', 'pending', 'pending']);
      first.release();
      await settle();
      expect([writer.state, ...later.map(({ state }) => state)]).toEqual(['fulfilled', 'pending', 'pending']);
      writer.value?.release();
      await settle();
      expect(later.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
      for (const { value } of later) value?.release();
    });

    it('readers behind a writer that gives up enter at once', async () => {
      const lock = create();
      const first = await lock.acquireRead();
      const controller = new AbortController();
      const writer = outcome(lock.acquireWrite({ signal: controller.signal }));
      const reader = outcome(lock.acquireRead());
      controller.abort();
      await settle();
      expect([writer.state, reader.state]).toEqual(['rejected', 'fulfilled']);
      first.release();
      reader.value?.release();
    });

    it('the with forms pass results on and release', async () => {
      const lock = create();
      expect(await lock.withReadLock(async ({ shared }) => shared)).toBe(true);
      expect(await lock.withWriteLock(({ shared }) => shared)).toBe(false);
      lock.tryAcquireWrite()?.release();
    });
  });
}

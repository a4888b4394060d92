import { describe, expect, it } from 'vitest';
import { LockDeadlockError, type LockHandle, ReaderWriterLock } from '../../src/index.js';
import { lockSuite } from '../suites/lock.js';
import { readerWriterSuite } from '../suites/reader-writer-lock.js';

readerWriterSuite('ReaderWriterLock', () => new ReaderWriterLock());

lockSuite('ReaderWriterLock, writing', () => {
  const lock = new ReaderWriterLock();
  return {
    get held() {
      return lock.held;
    },
    acquire: (options) => lock.acquireWrite(options),
    tryAcquire: () => lock.tryAcquireWrite(),
    withLock: (fn, options) => lock.withWriteLock(fn, options),
    close: () => lock.close(),
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
});

describe("ReaderWriterLock, fasteners' semantics", () => {
  it('tells whether readers or a writer hold it', async () => {
    const lock = new ReaderWriterLock();
    expect([lock.owner, lock.isReader(), lock.isWriter(), lock.hasPendingWriters]).toEqual([null, false, false, false]);
    await lock.withReadLock(async () => {
      expect([lock.owner, lock.isReader(), lock.isWriter()]).toEqual(['reader', true, false]);
      const writer = lock.withWriteLock(() => {});
      await expect(writer).rejects.toThrow(LockDeadlockError);
    });
    await lock.withWriteLock(() =>
      expect([lock.owner, lock.isReader(), lock.isWriter(false)]).toEqual(['writer', false, true]),
    );
    // A writer that reads as well is both, as in fasteners.
    await lock.withWriteLock(() =>
      lock.withReadLock(() => expect([lock.isReader(), lock.isWriter(false)]).toEqual([true, true])),
    );
    const reader = await lock.acquireRead();
    const writer = lock.withWriteLock(() => {});
    expect(lock.hasPendingWriters).toBe(true);
    expect(lock.isWriter()).toBe(false); // another context waits, not this one
    reader.release();
    await writer;
    expect([lock.owner, lock.hasPendingWriters]).toEqual([null, false]);
  });

  it('is re-entrant for the same async context', async () => {
    const lock = new ReaderWriterLock();
    let inner: LockHandle | undefined;
    await lock.withReadLock(() =>
      lock.withReadLock(async () => {
        inner = await lock.acquireRead();
      }),
    );
    expect(lock.owner).toBe('reader'); // the last release frees it
    inner?.release();
    expect(lock.owner).toBeNull();
    await lock.withWriteLock(() => lock.withWriteLock(() => expect(lock.owner).toBe('writer')));
    expect(lock.owner).toBeNull();
  });

  it('a reader re-enters although a writer waits', async () => {
    const lock = new ReaderWriterLock();
    let begun: () => void = () => {};
    const reading = new Promise<void>((resolve) => {
      begun = resolve;
    });
    let goOn: () => void = () => {};
    const writerWaits = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const reader = lock.withReadLock(async () => {
      begun();
      await writerWaits;
      await lock.withReadLock(() => expect(lock.isReader()).toBe(true));
    });
    await reading;
    const writer = lock.acquireWrite();
    expect(lock.hasPendingWriters).toBe(true);
    goOn();
    await reader;
    (await writer).release();
  });

  it('a writer may read, and stays a writer', async () => {
    const lock = new ReaderWriterLock();
    await lock.withWriteLock(() =>
      lock.withReadLock(() => expect([lock.owner, lock.isWriter()]).toEqual(['writer', true])),
    );
  });

  it('a reader cannot become a writer', async () => {
    const lock = new ReaderWriterLock();
    await lock.withReadLock(async () => {
      await expect(lock.acquireWrite()).rejects.toThrow(/a reader cannot become a writer/);
      expect(() => lock.tryAcquireWrite()).toThrow(LockDeadlockError);
    });
  });

  it('a context that waits to write cannot read meanwhile', async () => {
    const lock = new ReaderWriterLock();
    const outside = new ReaderWriterLock();
    const reader = await lock.acquireRead();
    await outside.withWriteLock(async () => {
      const writer = lock.withWriteLock(() => {});
      expect([lock.isWriter(), lock.isWriter(false)]).toEqual([true, false]);
      await expect(lock.acquireRead()).rejects.toThrow(/waits to write/);
      reader.release();
      await writer;
      (await lock.acquireRead()).release();
    });
  });
});

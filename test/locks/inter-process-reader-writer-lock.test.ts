import { describe, expect, it } from 'vitest';
import { InterProcessReaderWriterLock, LockDeadlockError } from '../../src/index.js';
import { readerWriterSuite } from '../suites/reader-writer-lock.js';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor, LineProgram, program } from '../support/programs.js';

const { path } = testFolder();
const variants = [
  ...(hasFlock ? [{ mechanism: 'flock' } as const] : []),
  ...(hasFcntl
    ? ([
        { mechanism: 'fcntl' },
        { mechanism: 'flock', fairness: 'fifo' },
        { mechanism: 'fcntl', fairness: 'fifo' },
      ] as const)
    : []),
];

for (const options of variants) {
  readerWriterSuite(
    `InterProcessReaderWriterLock, ${JSON.stringify(options)}`,
    () => new InterProcessReaderWriterLock(path(), options),
  );

  describe(`between processes, ${JSON.stringify(options)}`, () => {
    it('readers share, writers exclude, crashes free', async () => {
      const lock = new InterProcessReaderWriterLock(path(), options);
      const other = Actor.start();
      await other.call('create', 'InterProcessReaderWriterLock', lock.path, options);
      const reader = await lock.acquireRead();
      expect(await other.call('tryAcquire', 'tryAcquireRead')).toBe(true);
      expect(lock.tryAcquireWrite()).toBeNull();
      reader.release();
      expect(lock.tryAcquireWrite()).toBeNull();
      const writer = lock.acquireWrite();
      await other.kill();
      (await writer).release();
      lock.acquireReadSync().release();
      lock.acquireWriteSync().release();
    });
  });
}

describe.runIf(hasFlock)('InterProcessReaderWriterLock', () => {
  it('refuses upgrade and downgrade in the context that holds', async () => {
    const lock = new InterProcessReaderWriterLock(path());
    await lock.withReadLock(async () => {
      await expect(lock.acquireWrite()).rejects.toThrow(/a reader cannot become a writer/);
      expect(() => lock.tryAcquireWrite()).toThrow(LockDeadlockError);
    });
    await lock.withWriteLock(async () => {
      await expect(lock.withReadLock(() => {})).rejects.toThrow(/a writer cannot become a reader/);
    });
    expect(() => {
      using _reader = lock.acquireReadSync();
      lock.acquireWriteSync();
    }).toThrow(LockDeadlockError);
  });

  it("shares with Python's shared flock", async () => {
    const lock = new InterProcessReaderWriterLock(path());
    const python = new LineProgram('python3', [program('locker.py'), lock.path, 'flock']);
    const reader = await lock.acquireRead();
    expect(await python.ask('try shared')).toBe('ok');
    expect(await python.ask('try exclusive')).toBe('busy');
    await python.ask('unlock');
    reader.release();
  });
});

describe('InterProcessReaderWriterLock, lockfile', () => {
  it('is exclusive only, and the handle says so', async () => {
    const lock = new InterProcessReaderWriterLock(path(), { mechanism: 'lockfile' });
    const reader = await lock.acquireRead();
    expect(reader.shared).toBe(false);
    expect(lock.tryAcquireRead()).toBeNull();
    reader.release();
  });
});

describe.runIf(hasFcntl)('fifo', () => {
  it('no writer starves under four processes that read in tight loops', async () => {
    const options = { fairness: 'fifo' };
    const lock = new InterProcessReaderWriterLock(path(), options as never);
    const readers = Array.from({ length: 4 }, () => Actor.start());
    for (const reader of readers) await reader.call('create', 'InterProcessReaderWriterLock', lock.path, options);
    const loops = readers.map((reader) => reader.call('readInALoop'));
    for (let turn = 0; turn < 20; turn++) (await lock.acquireWrite()).release();
    for (const reader of readers) void reader.call('stop');
    for (const rounds of await Promise.all(loops)) expect(rounds).toBeGreaterThan(0);
  });
});

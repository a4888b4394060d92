/** What other people's code does with locks and handles, and what locks do in their context. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  acquireAll,
  FifoMutex,
  InterProcessLock,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  type LockHandle,
  ReaderWriterLock,
} from '../../src/index.js';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import '../support/expose-gc.js';
import { testFolder } from '../support/paths.js';
import { run } from '../support/programs.js';
import { outcome, settle, until } from '../support/waiting.js';

const { folder, path } = testFolder();

describe.runIf(hasFlock)('handles and locks that are logged, stored and copied', () => {
  const subjects: Record<string, () => Promise<LockHandle>> = {
    flock: () => new InterProcessLock(path()).acquire(),
    lockfile: () => new InterProcessLock(path(), { mechanism: 'lockfile' }).acquire(),
    reader: () => new InterProcessReaderWriterLock(path()).acquireRead(),
    FifoMutex: () => new FifoMutex().acquire(),
    acquireAll: () => acquireAll([new InterProcessLock(path()), new InterProcessLock(path())]),
    ...(hasFcntl && { permit: () => new InterProcessSemaphore(path(), { permits: 2 }).acquire() }),
  };

  for (const [name, acquire] of Object.entries(subjects)) {
    it(`${name}: short, and nothing of the inside`, async () => {
      const handle = await acquire();
      handle.signal;
      expect(JSON.parse(JSON.stringify(handle))).toMatchObject({ released: false });
      // But for the paths, which are as long as the temporary folder of this machine.
      const short = (text: string): number => text.replaceAll(folder, '').length;
      expect(short(JSON.stringify(handle))).toBeLessThan(300);
      expect(short(inspect(handle, { depth: 9, breakLength: Infinity }))).toBeLessThan(500);
      expect(inspect(handle)).toMatch(/^LockHandle \{/);
      expect(structuredClone(handle)).toEqual({});
      handle.release();
      expect(JSON.parse(JSON.stringify(handle))).toMatchObject({ released: true });
    });
  }

  it('locks: their path and mechanism', () => {
    const lock = new InterProcessLock(path());
    expect(JSON.parse(JSON.stringify(lock))).toEqual({ path: lock.path, mechanism: 'flock', held: false });
    expect(inspect(lock)).toMatch(/^InterProcessLock \{\s+path: '/);
  });
});

describe('the context of a request', () => {
  it('is that in which its grant, its end and its notice are told, not that of the code that releases', async () => {
    const context = new AsyncLocalStorage<string>();
    const mutex = new FifoMutex();
    const told: (string | undefined)[] = [];
    const tell = (): void => void told.push(context.getStore());
    for (const channel of ['fairlock:grant', 'fairlock:cancel']) subscribe(channel, tell);
    const holder = await context.run('holder', () => mutex.acquire());
    told.length = 0;
    const controller = new AbortController();
    const [waits, gives] = [
      context.run('waits', () =>
        mutex.acquire({ waitNotice: 0, onWait: () => told.push(`notice ${context.getStore()}`) }),
      ),
      context.run('gives up', () => mutex.acquire({ signal: controller.signal })),
    ];
    await until(() => told.length > 0);
    context.run('aborts', () => controller.abort());
    context.run('releases', () => holder.release());
    await Promise.allSettled([waits, gives]);
    for (const channel of ['fairlock:grant', 'fairlock:cancel']) unsubscribe(channel, tell);
    expect(told).toEqual(['notice waits', 'gives up', 'waits']);
    (await waits).release();
  });
});

describe('a job that plans its next run while it holds', () => {
  /** What each hold is, as events tell it: the frames of async contexts refer to it. */
  const holds: WeakRef<object>[] = [];
  const note = (event: unknown): void => void holds.push(new WeakRef((event as { hold: object }).hold));
  beforeEach(() => {
    holds.length = 0;
    subscribe('fairlock:grant', note);
  });
  afterEach(() => void unsubscribe('fairlock:grant', note));

  /** `job(next)` holds, and calls `next` meanwhile. */
  async function runs(job: (next: () => void) => Promise<void>): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const run = (): void => {
        job(() => (holds.length < 50 ? setImmediate(run) : resolve())).catch(reject);
      };
      run();
    });
  }

  const areForgotten = async (): Promise<unknown> =>
    until(() => {
      globalThis.gc?.();
      return holds.slice(0, 40).every((hold) => hold.deref() === undefined);
    });

  it('keeps nothing of the runs before', async () => {
    const mutex = new FifoMutex();
    // The last run goes on, in the context of all before it.
    let end = (): void => {};
    const going = runs((next) =>
      mutex.withLock(async () => {
        next();
        if (holds.length === 50) await new Promise<void>((resolve) => (end = resolve));
      }),
    );
    await going;
    await areForgotten();
    end();
  });

  it('also with two locks, each planned while the other is held', async () => {
    const mutexes = [new FifoMutex(), new FifoMutex()];
    let count = 0;
    let end = (): void => {};
    await runs((next) =>
      (mutexes[count++ % 2] as FifoMutex).withLock(async () => {
        next();
        await settle();
        if (holds.length === 50) await new Promise<void>((resolve) => (end = resolve));
      }),
    );
    await areForgotten();
    end();
  });
});

describe('reasons of an abort', () => {
  for (const reason of [null, 0, '', false, new Error('mine'), { code: 'E' }]) {
    it(`are passed on as they are: ${String(reason)}`, async () => {
      const mutex = new FifoMutex();
      const handle = await mutex.acquire();
      const controller = new AbortController();
      const waiting = mutex.acquire({ signal: controller.signal });
      const seen = waiting.then(
        () => 'granted',
        (error) => [error],
      );
      controller.abort(reason);
      expect((await seen)[0]).toBe(reason);
      expect(await mutex.acquire({ signal: controller.signal }).catch((error) => [error])).toEqual([reason]);
      handle.release();
    });
  }
});

it('a wait keeps what its signal follows: AbortSignal.any of a timeout (collected by Node 20)', async () => {
  const mutex = new FifoMutex();
  const handle = await mutex.acquire();
  const waiting = outcome(
    mutex.acquire({ signal: AbortSignal.any([new AbortController().signal, AbortSignal.timeout(30)]) }),
  );
  await until(() => {
    globalThis.gc?.();
    return waiting.state !== 'pending';
  });
  expect(waiting.reason).toMatchObject({ name: 'TimeoutError' });
  handle.release();
});

describe('fake timers', () => {
  afterEach(() => void vi.useRealTimers());

  it('do not stop a timeout, a notice, or the time limit of several locks', async () => {
    const [mutex, first, second] = [new FifoMutex(), new InterProcessLock(path()), new InterProcessLock(path())];
    const handles = [await mutex.acquire(), await second.acquire()];
    vi.useFakeTimers();
    await expect(mutex.acquire({ timeout: 5 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    await expect(acquireAll([first, second], { timeout: 5 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    const controller = new AbortController();
    const noticed = new Promise((resolve) => {
      mutex.acquire({ waitNotice: 5, onWait: resolve, signal: controller.signal }).catch(() => {});
    });
    await noticed;
    controller.abort();
    for (const handle of handles) handle.release();
  });
});

it('a function that is none is refused before the lock is taken', async () => {
  const lock = new ReaderWriterLock();
  for (const withLock of ['withReadLock', 'withWriteLock'] as const)
    await expect(lock[withLock]('none' as never)).rejects.toThrow(/^fn: expected a function/);
  expect(lock.held).toBe(false);
});

it('a process that ends while a request waits for its own lock says so', async () => {
  const script = `
    import { InterProcessLock } from 'fairlock';
    const lock = new InterProcessLock(${JSON.stringify(path('mine'))});
    async function main() { await lock.acquire(); await lock.acquire(); }
    main();`;
  const { code, stderr } = await run(process.execPath, ['--input-type=module', '-e', script]);
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/FAIRLOCK_STRANDED.*the process ends while a request waits/),
  ]);
});

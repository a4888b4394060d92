import { describe, expect, it } from 'vitest';
import { InterProcessSemaphore, LockMismatchError, LockTimeoutError, LockUnsupportedError } from '../../src/index.js';
import { lockSuite } from '../suites/lock.js';
import { hasFcntl } from '../support/capabilities.js';
import { openDescriptors, testFolder } from '../support/paths.js';
import { Actor } from '../support/programs.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path } = testFolder();

for (const fairness of ['kernel', 'fifo'] as const) {
  describe.runIf(hasFcntl)(`InterProcessSemaphore, ${fairness}`, () => {
    const create = (permits: number, file = path()): InterProcessSemaphore => new InterProcessSemaphore(file, { permits, fairness });

    lockSuite(`one permit, ${fairness}`, () => {
      const semaphore = create(1);
      return {
        get held() {
          return semaphore.held > 0;
        },
        acquire: async (options) => asExclusive(await semaphore.acquire(options)),
        tryAcquire: () => semaphore.tryAcquire(),
        withLock: (fn, options) => semaphore.withPermit(fn, options),
        close: () => semaphore.close(),
        [Symbol.dispose]: () => semaphore[Symbol.dispose](),
      };
    });

    it('has as many holders as permits, over all processes', async () => {
      const semaphore = create(3);
      const other = Actor.start();
      await other.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 3, fairness });
      const first = await semaphore.acquire();
      expect(await other.call('tryAcquire')).toBe(true);
      const third = await semaphore.acquire();
      expect([semaphore.tryAcquire(), await other.call('tryAcquire')]).toEqual([null, false]);
      await expect(semaphore.acquire({ timeout: 5 })).rejects.toThrow(LockTimeoutError);
      const [mine, next] = [outcome(semaphore.acquire()), outcome(semaphore.acquire())];
      await settle();
      expect(mine.state).toBe('pending');
      await other.call('release');
      await until(() => mine.state === 'fulfilled');
      expect(next.state).toBe('pending');
      first.release();
      await until(() => next.state === 'fulfilled');
      for (const handle of [third, mine.value, next.value]) handle?.release();
    });

    it('the permit of a killed process is free at once', async () => {
      const semaphore = create(2);
      const other = Actor.start();
      await other.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 2, fairness });
      await other.call('acquire');
      await other.call('acquire');
      const waiting = [semaphore.acquire(), semaphore.acquire()];
      await other.kill();
      for (const handle of await Promise.all(waiting)) handle.release();
    });

    it('waits in another process are served, and none is lost', async () => {
      const semaphore = create(2);
      const others = [Actor.start(), Actor.start()];
      for (const other of others) await other.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 2, fairness });
      const held = [await semaphore.acquire(), await semaphore.acquire()];
      const waits = others.map((other) => other.call('acquire'));
      for (const handle of held) handle.release();
      await Promise.all(waits);
      expect(semaphore.tryAcquire()).toBeNull();
    });

    it('refuses another number of permits, while anybody holds or waits', async () => {
      const semaphore = create(2);
      const handle = await semaphore.acquire();
      const other = create(3, semaphore.path);
      await expect(other.acquire()).rejects.toThrow(LockMismatchError);
      expect(() => other.tryAcquire()).toThrow(/another number of permits than 3/);
      handle.release();
      (await other.acquire()).release();
    });

    it('64 permits, and no descriptor left', async () => {
      const semaphore = create(64);
      const held = await Promise.all(Array.from({ length: 64 }, () => semaphore.acquire()));
      const before = openDescriptors();
      const controller = new AbortController();
      const waiting = semaphore.acquire({ signal: controller.signal });
      await settle();
      controller.abort();
      await expect(waiting).rejects.toThrow();
      await until(() => openDescriptors() <= before);
      const next = semaphore.acquire();
      held[63]?.release();
      (await next).release();
      for (const handle of held) handle.release();
    });
  });
}

function asExclusive<T extends { shared: boolean }>(handle: T): T {
  return new Proxy(handle, { get: (target, name) => (name === 'shared' ? false : Reflect.get(target, name, target)) });
}

describe('InterProcessSemaphore', () => {
  it.runIf(hasFcntl)('checks its arguments', () => {
    for (const permits of [0, 65, 1.5, Number.NaN]) expect(() => new InterProcessSemaphore(path(), { permits })).toThrow(RangeError);
    expect(() => new InterProcessSemaphore(path(), {} as never)).toThrow(TypeError);
    expect(() => new InterProcessSemaphore('', { permits: 1 })).toThrow(TypeError);
  });

  it.runIf(!hasFcntl)('is an error at construction without the addon', () => {
    expect(() => new InterProcessSemaphore(path(), { permits: 1 })).toThrow(LockUnsupportedError);
  });
});

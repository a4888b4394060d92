import { describe, expect, it } from 'vitest';
import {
  InterProcessSemaphore,
  LockMismatchError,
  LockTimeoutError,
  LockUnsupportedError,
  type WaitInfo,
} from '../../src/index.js';
import { lockSuite } from '../suites/lock.js';
import { hasFcntl } from '../support/capabilities.js';
import { openDescriptors, testFolder } from '../support/paths.js';
import { Actor } from '../support/programs.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path } = testFolder();

for (const fairness of ['kernel', 'fifo'] as const) {
  describe.runIf(hasFcntl)(`InterProcessSemaphore, ${fairness}`, () => {
    const create = (permits: number, file = path()): InterProcessSemaphore =>
      new InterProcessSemaphore(file, { permits, fairness });

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
      for (const other of others)
        await other.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 2, fairness });
      const held = [await semaphore.acquire(), await semaphore.acquire()];
      const waits = others.map((other) => other.call('acquire'));
      for (const handle of held) handle.release();
      await Promise.all(waits);
      expect(semaphore.tryAcquire()).toBeNull();
    });

    it('refuses another number of permits, while a process holds or waits', async () => {
      const semaphore = create(2);
      const handle = await semaphore.acquire();
      const other = create(3, semaphore.path);
      await expect(other.acquire()).rejects.toThrow(LockMismatchError);
      expect(() => other.tryAcquire()).toThrow(/semaphore of 2 permits, not of 3/);
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
    for (const permits of [0, 1000, 1.5, Number.NaN])
      expect(() => new InterProcessSemaphore(path(), { permits })).toThrow(RangeError);
    expect(() => new InterProcessSemaphore(path(), {} as never)).toThrow(TypeError);
    expect(() => new InterProcessSemaphore('', { permits: 1 })).toThrow(TypeError);
  });

  it.runIf(!hasFcntl)('is an error at construction without the addon', () => {
    expect(() => new InterProcessSemaphore(path(), { permits: 1 })).toThrow(LockUnsupportedError);
  });
});

describe.runIf(hasFcntl)('what a semaphore tells', () => {
  it('inspect and onWait name holders as holders and waiters as waiters; isLocked: no permit is free', async () => {
    const semaphore = new InterProcessSemaphore(path(), { permits: 2 });
    const [one, two] = [Actor.start(), Actor.start()];
    for (const actor of [one, two]) await actor.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 2 });
    expect([semaphore.isLocked(), semaphore.inspect()]).toMatchObject([
      false,
      { permits: 2, held: false, holders: [], waiters: [] },
    ]);
    await one.call('acquire');
    expect(semaphore.isLocked()).toBe(false);
    const permit = await semaphore.acquire();
    expect([semaphore.isLocked(), permit.shared]).toEqual([true, false]);
    const waiting = two.call('acquire');
    const pids = (): [number[], number[]] => {
      const { holders, waiters } = semaphore.inspect();
      return [holders.map(({ pid }) => pid).sort(), waiters.map(({ pid }) => pid)];
    };
    await until(() => pids()[1].length > 0);
    expect(pids()).toEqual([[process.pid, one.child.pid].sort(), [two.child.pid]]);
    const info = await new Promise<WaitInfo>((resolve) => {
      const onWait = (told: WaitInfo): void => resolve(told);
      semaphore.acquire({ waitNotice: 1, onWait }).then(
        (handle) => handle.release(),
        () => {},
      );
    });
    expect(info.holders.map(({ pid }) => pid).sort()).toEqual([process.pid, one.child.pid].sort());
    await one.call('release');
    await waiting;
    permit.release();
    await two.call('release');
    await until(() => !semaphore.isLocked() && semaphore.inspect().holders.length === 0);
  });

  it('each holder has a permit of its own number, over processes, and a free number is used again', async () => {
    const semaphore = new InterProcessSemaphore(path(), { permits: 3 });
    const handles = [await semaphore.acquire(), await semaphore.acquire(), await semaphore.acquire()];
    expect(handles.map(({ permit }) => permit).sort()).toEqual([0, 1, 2]);
    const waiting = semaphore.acquire();
    handles[1]?.release();
    const next = await waiting;
    expect(next.permit).toBe(handles[1]?.permit);
    for (const handle of [...handles, next]) handle.release();
  });
});

describe.runIf(hasFcntl)('a semaphore in strict order', () => {
  it('is not taken again by its releaser while another process is queued', async () => {
    const semaphore = new InterProcessSemaphore(path(), { permits: 1, fairness: 'fifo' });
    const actor = Actor.start();
    await actor.call('create', 'InterProcessSemaphore', semaphore.path, { permits: 1, fairness: 'fifo' });
    let handle = await semaphore.acquire();
    for (let round = 0; round < 20; round++) {
      const theirs = actor.call('acquire');
      await until(() => semaphore.inspect().waiters.length > 0);
      handle.release();
      expect(semaphore.tryAcquire()).toBeNull();
      await theirs;
      await actor.call('release');
      handle = await semaphore.acquire();
    }
    handle.release();
  });
});

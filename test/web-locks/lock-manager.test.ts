// Named after the sections of https://www.w3.org/TR/web-locks/
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { Lock, type LockGrantedCallback, LockManager, type LockOptions } from '../../src/web-locks/index.js';
import { hasFlock, hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { run } from '../support/programs.js';
import { rounds } from '../support/scale.js';
import { outcome, settle, until } from '../support/waiting.js';

const { folder, path } = testFolder();

function manager(): { locks: LockManager; directory: string } {
  const directory = path();
  return { locks: new LockManager(directory), directory };
}

/** A request that holds until it is told to release. */
function hold(locks: LockManager, name: string, options: LockOptions = {}) {
  let release: (value?: unknown) => void = () => {};
  let granted: (lock: Lock | null) => void = () => {};
  const holding = new Promise<Lock | null>((resolve) => {
    granted = resolve;
  });
  const done = locks.request(name, options, (lock) => {
    granted(lock);
    return new Promise<unknown>((resolve) => {
      release = resolve;
    });
  });
  done.catch(() => {});
  return { holding, done, release: (value?: unknown) => release(value) };
}

const rejection = (promise: Promise<unknown>): Promise<{ name: string; type: unknown }> =>
  promise.then(
    () => ({ name: 'none', type: undefined }),
    (error: Error) => ({ name: error.name, type: error.constructor }),
  );

describe('4.1 the Lock interface', () => {
  it('has name and mode, which cannot be changed, and is made by the lock manager only', async () => {
    const { locks } = manager();
    await locks.request('a name', { mode: 'shared' }, (lock) => {
      expect(lock).toBeInstanceOf(Lock);
      expect([lock?.name, lock?.mode]).toEqual(['a name', 'shared']);
      expect(() => Object.assign(lock as Lock, { name: 'other' })).toThrow(TypeError);
      expect(Object.prototype.toString.call(lock)).toBe('[object Lock]');
      const keys = [];
      for (const key in lock) keys.push(key);
      expect(keys).toEqual(expect.arrayContaining(['name', 'mode']));
    });
    expect(() => Reflect.construct(Lock, [])).toThrow('Illegal constructor');
    const getter = Object.getOwnPropertyDescriptor(Lock.prototype, 'name')?.get;
    expect(() => getter?.call({})).toThrow(TypeError);
  });
});

describe('4.2 the LockManager interface', () => {
  it('has its name, its operations and a brand', async () => {
    const { locks } = manager();
    expect(Object.prototype.toString.call(locks)).toBe('[object LockManager]');
    expect([LockManager.prototype.request.length, LockManager.prototype.query.length]).toEqual([2, 0]);
    expect(Object.keys(LockManager.prototype).sort()).toEqual(['query', 'request']);
    for (const operation of [
      (): Promise<unknown> => Reflect.apply(LockManager.prototype.request, {}, ['n', () => {}]),
      (): Promise<unknown> => Reflect.apply(LockManager.prototype.query, {}, []),
    ]) {
      let promise: Promise<unknown> | undefined;
      expect(() => {
        promise = operation();
      }).not.toThrow();
      await expect(promise).rejects.toThrow(TypeError);
    }
  });

  it('drops in for navigator.locks, as the docs say', async () => {
    const docs = readFileSync(new URL('../../docs/web-locks.md', import.meta.url), 'utf8');
    const snippet = /globalThis\.navigator \?\?= [\s\S]*?(?=```)/.exec(docs)?.[0] ?? '';
    const script = `
      import { LockManager } from 'fairlock/web-locks';
      const directory = ${JSON.stringify(path())};
      ${snippet}
      console.log(await navigator.locks.request('n', (lock) => lock.name), navigator.locks instanceof LockManager);`;
    expect((await run(process.execPath, ['--input-type=module', '-e', script])).stdout).toBe('n true\n');
  });

  it('touches nothing until a lock is taken', async () => {
    const parent = path();
    mkdirSync(parent);
    const locks = new LockManager(`${parent}/locks`);
    expect(await locks.query()).toEqual({ held: [], pending: [] });
    expect(readdirSync(parent)).toEqual([]);
    expect(await locks.request('n', () => 1)).toBe(1);
    expect(readdirSync(parent)).toEqual(['locks']);
    for (const wrong of [undefined, null, '', 1, 'a\0b'])
      expect(() => new LockManager(wrong as string)).toThrow(TypeError);
  });
});

describe('4.2.1 the request() method', () => {
  const { locks, directory } = manager();
  const request = (...args: unknown[]): Promise<unknown> =>
    Reflect.apply(locks.request, locks, args) as Promise<unknown>;
  const fn: LockGrantedCallback<number> = () => 17;

  const INCONVERTIBLE: unknown[][][] = [
    [[]],
    [[undefined]],
    [['n']],
    [['n', undefined]],
    [['n', null]],
    [['n', 'callback']],
    [['n', {}]],
    [['n', {}, {}]],
    [['n', {}, undefined]],
    [['n', 'options', fn]],
    [['n', 1, fn]],
    [[Symbol('n'), fn]],
    [['n', { mode: 'foo' }, fn]],
    [['n', { mode: null }, fn]],
    [['n', { mode: '' }, fn]],
    [['n', { mode: Symbol('exclusive') }, fn]],
    ...['string', 12.34, false, {}, Symbol('s'), () => {}, null].map((signal) => [['n', { signal }, fn]]),
  ];
  it.each(INCONVERTIBLE)('rejects with a TypeError what Web IDL cannot convert: %o', async (args) => {
    expect(await rejection(request(...args))).toEqual({ name: 'TypeError', type: TypeError });
  });

  it('converts what it can', async () => {
    expect(await request('n', undefined, fn)).toBe(17);
    expect(await request('n', null, fn)).toBe(17);
    expect(await request('n', fn, fn)).toBe(17);
    expect(await request('n', { mode: undefined, signal: undefined, ifAvailable: 0, steal: '' }, fn)).toBe(17);
    expect(await request(null, (lock: Lock) => lock.name)).toBe('null');
    expect(await request(12, (lock: Lock) => lock.name)).toBe('12');
    expect(await request({ toString: () => 'object' }, (lock: Lock) => lock.name)).toBe('object');
  });

  it('reads the options in alphabetical order, each once', async () => {
    const read: string[] = [];
    const options = new Proxy({}, { get: (_, key) => void read.push(String(key)) });
    await request('n', options, fn);
    expect(read).toEqual(['ifAvailable', 'mode', 'signal', 'steal']);
  });

  it.each([
    ['-', {}],
    ['-foo', { mode: 'shared' }],
    ['n', { steal: true, ifAvailable: true }],
    ['n', { steal: true, mode: 'shared' }],
    ['n', { steal: true, signal: new AbortController().signal }],
    ['n', { ifAvailable: true, signal: new AbortController().signal }],
    ['-', { signal: AbortSignal.abort() }],
  ])('rejects with NotSupportedError: %s, %o', async (name, options) => {
    const never = vi.fn();
    expect(await rejection(request(name, options, never))).toEqual({ name: 'NotSupportedError', type: DOMException });
    expect(never).not.toHaveBeenCalled();
  });

  it('rejects with the reason of a signal that is aborted already', async () => {
    await expect(request('n', { signal: AbortSignal.abort('reason') }, fn)).rejects.toBe('reason');
    expect(await rejection(request('n', { signal: AbortSignal.abort() }, fn))).toEqual({
      name: 'AbortError',
      type: DOMException,
    });
  });

  it('leaves nothing of what it refused', () => {
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    [''],
    ['name'],
    ['a/b/../c'],
    ['nul\0nul'],
    ['\ud83d'],
    ['😀'],
    ['con'],
    ['. .'],
    ['x'.repeat(1 << 20)],
    ['a-'],
    ['ümläut'],
    [' '],
  ])('takes any name: %j', async (name) => {
    expect(await locks.request(name, (lock) => lock?.name)).toBe(name);
  });
});

describe('5.1 to request a lock', () => {
  it('comes to what the callback comes to', async () => {
    const { locks } = manager();
    expect(await locks.request('n', () => 'value')).toBe('value');
    expect(await locks.request('n', async () => 'promised')).toBe('promised');
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    expect(await locks.request('n', () => ({ then: (resolve: (value: string) => void) => resolve('thenable') }))).toBe(
      'thenable',
    );
    const error = new RangeError('thrown');
    await expect(
      locks.request('n', () => {
        throw error;
      }),
    ).rejects.toBe(error);
    await expect(locks.request('n', () => Promise.reject(error))).rejects.toBe(error);
    expect(await locks.query()).toEqual({ held: [], pending: [] });
  });

  it('does not call back before it returns', async () => {
    const { locks } = manager();
    let called = false;
    const done = locks.request('n', () => {
      called = true;
    });
    expect(called).toBe(false);
    await done;
    expect(called).toBe(true);
  });

  it('holds until what the callback returned is settled', async () => {
    const { locks } = manager();
    const first = hold(locks, 'n');
    await first.holding;
    const second = outcome(locks.request('n', () => 'second'));
    await settle();
    expect(second.state).toBe('pending');
    first.release('first');
    expect(await first.done).toBe('first');
    expect(await until(() => second.value)).toBe('second');
  });

  it('grants exclusive ones alone, shared ones together, in the order of requests across modes', async () => {
    const { locks } = manager();
    const order: string[] = [];
    const modes = ['shared', 'shared', 'exclusive', 'shared', 'exclusive', 'exclusive', 'shared', 'shared'] as const;
    let active = { shared: 0, exclusive: 0 };
    let together = 0;
    await Promise.all(
      modes.map((mode, i) =>
        locks.request('n', { mode }, async () => {
          order.push(`${i}`);
          active = { ...active, [mode]: active[mode] + 1 };
          together = Math.max(together, active.shared);
          expect(active.exclusive === 0 || (active.exclusive === 1 && active.shared === 0)).toBe(true);
          await settle();
          active = { ...active, [mode]: active[mode] - 1 };
        }),
      ),
    );
    expect(order.join('')).toBe('01234567');
    if (hasFlock) expect(together).toBe(2);
  });

  it('keeps names apart', async () => {
    const { locks } = manager();
    const [a, b] = [hold(locks, 'a'), hold(locks, 'b')];
    await Promise.all([a.holding, b.holding]);
    a.release();
    b.release();
    await Promise.all([a.done, b.done]);
  });

  it('ifAvailable: gives null where it cannot be had at once, and comes to what the callback comes to', async () => {
    const { locks } = manager();
    expect(await locks.request('n', { ifAvailable: true }, (lock) => lock?.name)).toBe('n');
    const holder = hold(locks, 'n', { mode: 'shared' });
    await holder.holding;
    await locks.request('n', { ifAvailable: true }, async (lock) => {
      expect(lock).toBeNull();
      const { held, pending } = await locks.query();
      expect([held?.length, pending?.length]).toEqual([1, 0]);
    });
    if (hasFlock)
      expect(await locks.request('n', { ifAvailable: true, mode: 'shared' }, (lock) => lock?.mode)).toBe('shared');
    const error = new RangeError('thrown');
    await expect(
      locks.request('n', { ifAvailable: true }, () => {
        throw error;
      }),
    ).rejects.toBe(error);
    // A request is pending: one that could share waits behind it, or is refused.
    const writer = hold(locks, 'n');
    await settle();
    expect(await locks.request('n', { ifAvailable: true, mode: 'shared' }, (lock) => lock)).toBeNull();
    holder.release();
    await writer.holding;
    writer.release();
    await writer.done;
  });

  it('two managers of one directory are one', async () => {
    const { locks, directory } = manager();
    const other = new LockManager(directory);
    const holder = hold(locks, 'n');
    await holder.holding;
    expect(await other.request('n', { ifAvailable: true }, (lock) => lock)).toBeNull();
    expect((await other.query()).held).toEqual([{ name: 'n', mode: 'exclusive', clientId: `pid-${process.pid}` }]);
    await other.request('n', { steal: true }, () => {});
    expect(await rejection(holder.done)).toEqual({ name: 'AbortError', type: DOMException });
  });
});

describe('5.2 to release a lock', () => {
  it('removes the file with the last release', async () => {
    const { locks, directory } = manager();
    const readers = [hold(locks, 'n', { mode: 'shared' }), hold(locks, 'n', { mode: 'shared' })];
    await readers[0]?.holding;
    expect(readdirSync(directory)).not.toEqual([]);
    readers[0]?.release();
    await readers[0]?.done;
    await readers[1]?.holding;
    readers[1]?.release();
    await readers[1]?.done;
    expect(readdirSync(directory)).toEqual([]);
  });

  it.runIf(hasParking)('a directory that very many names have used ends empty', async () => {
    // In memory where there is such a place: some file systems take long to make and remove so many files.
    const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : folder, 'fairlock-test-'));
    const script = `
      import { LockManager } from 'fairlock/web-locks';
      const locks = new LockManager(${JSON.stringify(directory)});
      for (let i = 0; i < ${rounds(1_000, 100_000)}; i += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, n) => locks.request(\`job/\${i + n}\`, () => {})));
      }`;
    expect(await run(process.execPath, ['--input-type=module', '-e', script])).toMatchObject({ code: 0, stderr: '' });
    expect(readdirSync(directory)).toEqual([]);
    rmdirSync(directory);
  });
});

describe('5.3 to abort a request', () => {
  it('rejects with the reason, and the callback is not called', async () => {
    const { locks, directory } = manager();
    const holder = hold(locks, 'n');
    await holder.holding;
    const controller = new AbortController();
    const never = vi.fn();
    const pending = locks.request('n', { signal: controller.signal }, never);
    await settle();
    expect((await locks.query()).pending?.length).toBe(1);
    controller.abort('enough');
    await expect(pending).rejects.toBe('enough');
    expect((await locks.query()).pending).toEqual([]);
    holder.release();
    await holder.done;
    expect(never).not.toHaveBeenCalled();
    await until(() => readdirSync(directory).length === 0);
  });

  it('in the same turn, though it could be granted', async () => {
    const { locks, directory } = manager();
    const controller = new AbortController();
    const never = vi.fn();
    const pending = locks.request('n', { signal: controller.signal }, never);
    controller.abort();
    expect(await rejection(pending)).toEqual({ name: 'AbortError', type: DOMException });
    expect(never).not.toHaveBeenCalled();
    expect(await locks.request('n', () => 'free')).toBe('free');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('the next request is served after one that was aborted in its turn', async () => {
    const { locks } = manager();
    const controller = new AbortController();
    const first = locks.request('n', { signal: controller.signal }, () => new Promise(() => {}));
    const next = locks.request('n', () => 'next');
    controller.abort('reason');
    await expect(first).rejects.toBe('reason');
    expect(await next).toBe('next');
  });

  it('has no effect once it is granted', async () => {
    const { locks } = manager();
    const controller = new AbortController();
    const holder = hold(locks, 'n', { signal: controller.signal });
    await holder.holding;
    controller.abort();
    holder.release('done');
    expect(await holder.done).toBe('done');
  });

  it('the last cancelled request leaves no file', async () => {
    const { locks, directory } = manager();
    for (let round = 0; round < 50; round++) {
      const holder = hold(locks, 'n');
      await holder.holding;
      const controllers = Array.from({ length: 3 }, () => new AbortController());
      const pending = controllers.map(({ signal }) => rejection(locks.request('n', { signal }, () => {})));
      await settle();
      holder.release();
      for (const controller of controllers) controller.abort();
      await Promise.all([holder.done, ...pending]);
    }
    await until(() => readdirSync(directory).length === 0);
  });
});

describe('5.4 to steal a lock', () => {
  it('is granted at once; its holder learns of it, and goes on', async () => {
    const { locks, directory } = manager();
    const victims = [hold(locks, 'n', { mode: 'shared' }), hold(locks, 'n', { mode: 'shared' })];
    const lock = await victims[0]?.holding;
    if (hasFlock) await victims[1]?.holding;
    const stealer = hold(locks, 'n', { steal: true });
    expect((await stealer.holding)?.mode).toBe('exclusive');
    expect(await rejection(victims[0]?.done as Promise<unknown>)).toEqual({ name: 'AbortError', type: DOMException });
    expect(lock?.signal.aborted).toBe(true);
    if (hasFlock)
      expect((await locks.query()).held).toEqual([{ name: 'n', mode: 'exclusive', clientId: `pid-${process.pid}` }]);
    stealer.release('stolen');
    expect(await stealer.done).toBe('stolen');
    // By lock folders readers exclude each other: the second victim is granted only now.
    await victims[1]?.holding;
    victims[1]?.release();
    await until(() => readdirSync(directory).length === 0);
  });

  it('steals from a request of this very turn, whose callback is called all the same', async () => {
    const { locks } = manager();
    const called = vi.fn((lock: Lock | null) => lock?.signal.aborted);
    const victim = rejection(locks.request('n', called));
    const waiting = locks.request('n', () => 'waited');
    expect(await locks.request('n', { steal: true }, () => 'stolen')).toBe('stolen');
    expect(await victim).toEqual({ name: 'AbortError', type: DOMException });
    expect(await waiting).toBe('waited');
    // As the standard says: a grant is followed by the callback, whatever happens in between.
    expect(called.mock.results).toEqual([{ type: 'return', value: true }]);
  });

  it('the last stealer of a turn wins', async () => {
    const { locks } = manager();
    const thieves = [1, 2, 3].map((n) =>
      locks.request('n', { steal: true }, () => n).catch((error: Error) => error.name),
    );
    expect(await Promise.all(thieves)).toEqual(['AbortError', 'AbortError', 3]);
    expect(await locks.query()).toEqual({ held: [], pending: [] });
  });

  it('a stolen lock is stolen in turn', async () => {
    const { locks } = manager();
    const first = hold(locks, 'n', { steal: true });
    await first.holding;
    expect(await locks.request('n', { steal: true }, () => 'second')).toBe('second');
    expect(await rejection(first.done)).toEqual({ name: 'AbortError', type: DOMException });
    expect(await locks.request('n', () => 'free')).toBe('free');
  });

  it('comes before the waiters, which stay', async () => {
    const { locks } = manager();
    const holder = hold(locks, 'n');
    await holder.holding;
    const order: string[] = [];
    const waiting = ['a', 'b'].map((name) => locks.request('n', () => order.push(name)));
    await settle();
    const stealer = locks.request('n', { steal: true }, async () => {
      order.push('stealer');
      await settle();
    });
    await Promise.all([stealer, ...waiting]);
    expect(order).toEqual(['stealer', 'a', 'b']);
    expect(await rejection(holder.done)).toEqual({ name: 'AbortError', type: DOMException });
  });

  it('what becomes of the callback that lost the lock is not told', async () => {
    const { locks } = manager();
    let fail: (error: Error) => void = () => {};
    const victim = locks.request(
      'n',
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    );
    victim.catch(() => {});
    await settle();
    await locks.request('n', { steal: true }, () => {});
    await expect(victim).rejects.toMatchObject({ name: 'AbortError' });
    const unhandled = vi.fn();
    process.once('unhandledRejection', unhandled);
    fail(new Error('late'));
    await settle();
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
    expect(await locks.query()).toEqual({ held: [], pending: [] });
  });

  it.runIf(hasFlock)('a lock whose file is removed by a stranger is told of it too', async () => {
    const { locks, directory } = manager();
    const holder = hold(locks, 'n');
    await holder.holding;
    unlinkSync(`${directory}/n-n`);
    expect(await rejection(holder.done)).toEqual({ name: 'AbortError', type: DOMException });
  });
});

describe('5.6 to snapshot the lock state', () => {
  it('lists held and pending ones, in the order of grants and of requests', async () => {
    const { locks } = manager();
    const clientId = `pid-${process.pid}`;
    const holders = [hold(locks, 'b'), hold(locks, 'a', { mode: 'shared' })];
    for (const { holding } of holders) await holding;
    const pending = [
      ['a', 'exclusive'],
      ['b', 'shared'],
      ['a', 'shared'],
    ] as const;
    const requests = pending.map(([name, mode]) => locks.request(name, { mode }, () => {}));
    expect(await locks.query()).toEqual({
      held: [
        { name: 'b', mode: 'exclusive', clientId },
        { name: 'a', mode: 'shared', clientId },
      ],
      pending: pending.map(([name, mode]) => ({ name, mode, clientId })),
    });
    for (const { release } of holders) release();
    await Promise.all(requests);
    expect(await locks.query()).toEqual({ held: [], pending: [] });
  });

  it('is a copy', async () => {
    const { locks } = manager();
    const holder = hold(locks, 'n');
    await holder.holding;
    Object.assign((await locks.query()).held?.[0] as object, { name: 'changed' });
    expect((await locks.query()).held?.[0]?.name).toBe('n');
    holder.release();
  });

  it('shows what was granted in this turn', async () => {
    const { locks } = manager();
    const holder = hold(locks, 'n');
    expect((await locks.query()).held?.length).toBe(1);
    holder.release();
    await setImmediate();
  });
});

it.runIf(hasParking)('needs no more descriptors after a thousand requests than before', async () => {
  const { locks } = manager();
  const count = (): number => readdirSync('/proc/self/fd').length;
  await locks.request('first', () => {});
  const before = count();
  for (let i = 0; i < 1000; i++)
    await locks.request(`n${i}`, { mode: i % 2 ? 'shared' : 'exclusive', steal: i % 4 === 0 }, () => {});
  expect(count()).toBeLessThanOrEqual(before + 2);
});

describe('the interface Lock', () => {
  it('is that of the standard: no parameters, name and mode enumerable, nothing else', async () => {
    expect(Lock.length).toBe(0);
    const { locks } = manager();
    const names = await locks.request('n', (lock) => {
      const found: string[] = [];
      for (const name in lock) found.push(name);
      return found;
    });
    expect(names.sort()).toEqual(['mode', 'name']);
  });
});

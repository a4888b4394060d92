/** fairlock/testing/engine: what every lock service behind this library must do, for any test runner. */
import assert from 'node:assert/strict';
import type { Engine } from '../../engine/engine.js';
import { EngineLocks } from '../../engine/engine-locks.js';
import type { FencedHandle } from '../../engine/index.js';
import { within } from '../../engine/retry.js';
import { Deadline } from '../../timers.js';

type Test = (name: string, run: () => Promise<void>) => unknown;

/** `test` of node:test, `it` of vitest, Jest or Mocha; or an object that has one of them. */
export type TestRunner = Test | { readonly test: Test } | { readonly it: Test };

export interface EngineSuiteOptions {
  /** How many waiters the case of a long queue has. @default 50 */
  waiters?: number | undefined;
  /** How many aborts the case of aborts has. @default 50 */
  aborts?: number | undefined;
  /** How long, in ms, a test may take: an engine that is wrong may never grant. @default 60000 */
  limit?: number | undefined;
}

/** For an engine without a class of locks around it. */
class LocksOf extends EngineLocks {
  constructor(engine: Engine) {
    super(engine, 1000);
  }
}

/**
 * Gives the runner a test for each thing that an engine must do: exclusion, order, tokens, timeouts and aborts that leave
 * nothing, readers, semaphores, records, `close`. They need nothing but the service, and use names of their own. What
 * needs the service itself (its death, a lost connection) is not among them.
 *
 *     import test from 'node:test';
 *     engineSuite(test, () => new MyEngine(url));
 *
 * A test rejects with an AssertionError of node:assert, or with what the engine threw.
 *
 * @param makeEngine an engine, or the locks of one, with connections of its own, as another process would have; closed by
 *   the test that made it
 */
export function engineSuite(
  runner: TestRunner,
  makeEngine: () => Engine | EngineLocks | Promise<Engine | EngineLocks>,
  { waiters = 50, aborts = 50, limit = 60_000 }: EngineSuiteOptions = {},
): void {
  const test = typeof runner === 'function' ? runner : 'test' in runner ? runner.test : runner.it;
  const until = (look: () => Promise<boolean>): Promise<void> => untilWithin(limit, look);
  const open = async (): Promise<EngineLocks> => {
    const made = await makeEngine();
    return 'tryAcquire' in made ? new LocksOf(made) : made;
  };

  /** @param clients how many processes, so to speak, take part */
  const add = (name: string, clients: number, body: (lock: string, ...all: EngineLocks[]) => Promise<void>): void => {
    test(name, async () => {
      const all: EngineLocks[] = [];
      try {
        for (let i = 0; i < clients; i++) all.push(await open());
        const late = (): Error =>
          new assert.AssertionError({ message: `it has not come to an end within ${limit} ms` });
        await within(limit, body(`fairlock suite ${process.pid} ${++names}`, ...all), late);
      } finally {
        await Promise.all(all.map((one) => one.close()));
      }
    });
  };

  add('is held from acquire to release, and free as soon as release has resolved', 2, async (name, here, there) => {
    const handle = await here.lock(name).acquire();
    assert.equal(await there.lock(name).tryAcquire(), null);
    assert.deepEqual([handle.released, handle.signal.aborted], [false, false]);
    handle.check();
    await handle.verify();
    await handle.release();
    const next = await there.lock(name).tryAcquire();
    assert.notEqual(next, null);
    await handle.release(); // Once more: it frees no other holder.
    assert.equal(await here.lock(name).tryAcquire(), null);
    await next?.release();
  });

  add('tokens grow with every grant, whichever process has it', 2, async (name, here, there) => {
    let last = 0;
    for (let i = 0; i < 10; i++) {
      const handle = await (i % 2 === 0 ? here : there).lock(name).acquire();
      assert.ok(handle.token > last, `${handle.token} after ${last}`);
      last = handle.token;
      await handle.release();
    }
  });

  add('serves the processes in the order in which they asked', 4, async (name, holder, ...others) => {
    const held = await holder.lock(name).acquire();
    const order: number[] = [];
    const all: Promise<void>[] = [];
    for (const [i, other] of others.entries()) {
      all.push(other.lock(name).withLock(() => void order.push(i)));
      await until(async () => (await holder.inspect(name)).waiters.length === i + 1);
    }
    await held.release();
    await Promise.all(all);
    assert.deepEqual(order, [0, 1, 2]);
  });

  add('serves the waiters of one process in the order of their calls', 1, async (name, locks) => {
    const lock = locks.lock(name);
    const order: number[] = [];
    const held = await lock.acquire();
    const all = Array.from({ length: waiters }, (_, i) => lock.withLock(() => void order.push(i)));
    await held.release();
    await Promise.all(all);
    assert.deepEqual(order, [...order.keys()]);
    assert.equal(order.length, waiters);
  });

  add('inspect shows the holder and the waiters', 2, async (name, here, there) => {
    const held = await here.lock(name).acquire();
    const waiting = there.lock(name).acquire();
    await until(async () => (await here.inspect(name)).waiters.length === 1);
    const { holders, waiters: others } = await there.inspect(name);
    assert.deepEqual([holders.map(({ pid }) => pid), others.map(({ pid }) => pid)], [[process.pid], [process.pid]]);
    await held.release();
    await (await waiting).release();
    await until(async () => (await here.inspect(name)).holders.length === 0);
  });

  add('a request that times out leaves no place in the queue', 2, async (name, here, there) => {
    const held = await here.lock(name).acquire();
    await assert.rejects(there.lock(name).acquire({ timeout: 100 }), { code: 'ERR_LOCK_TIMEOUT' });
    await until(async () => (await here.inspect(name)).waiters.length === 0);
    await held.release();
    await (await there.lock(name).acquire()).release();
  });

  add('aborts at any moment leave nothing', 2, async (name, here, there) => {
    for (let i = 0; i < aborts; i++) {
      const controller = new AbortController();
      const held = i % 3 === 0 ? await there.lock(name).acquire() : undefined;
      const waiting = here
        .lock(name)
        .acquire({ signal: controller.signal })
        .catch(() => undefined);
      for (let turn = 0; turn < i % 7; turn++) await turnOfLoop();
      controller.abort();
      const releasing = held?.release();
      await (await waiting)?.release();
      await releasing;
    }
    await (await here.lock(name).acquire()).release();
    await until(async () => {
      const { holders, waiters: others } = await here.inspect(name);
      return holders.length + others.length === 0;
    });
  });

  add('readers share, writers do not', 2, async (name, here, there) => {
    const [a, b] = [here.readerWriterLock(name), there.readerWriterLock(name)];
    const readers = [await a.acquireRead(), await b.acquireRead(), await a.acquireRead()];
    assert.equal(await b.tryAcquireWrite(), null);
    const writing = a.acquireWrite();
    for (const reader of readers) await reader.release();
    const writer = await writing;
    assert.equal(await b.tryAcquireRead(), null);
    await writer.release();
    await (await b.acquireRead()).release();
  });

  add('a semaphore has at most so many holders', 2, async (name, here, there) => {
    const [a, b] = [here, there].map((one) => one.semaphore(name, { permits: 2 })) as [Semaphore, Semaphore];
    const held = [await a.acquire(), await b.acquire()];
    assert.deepEqual([await a.tryAcquire(), await b.tryAcquire()], [null, null]);
    for (const handle of held) await handle.release();
    let [inside, most] = [0, 0];
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await turnOfLoop();
      inside--;
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? a : b).withPermit(work)));
    assert.ok(most <= 2, `${most} at once`);
  });

  add('names are taken as they are', 1, async (name, locks) => {
    const all = ['', '/', '/b', '%2F', ' ', '\'"', 'é', '\u0001'].map((end) => `${name}${end}`);
    const handles: FencedHandle[] = [];
    for (const one of all) handles.push(await locks.lock(one).acquire({ timeout: limit }));
    for (const handle of handles) await handle.release();
  });

  add('close rejects waiters, and what is asked for from then on; what is held stays held', 2, async (name, a, b) => {
    const own = await b.lock(`${name} own`).acquire();
    const held = await a.lock(name).acquire();
    const refused = assert.rejects(b.lock(name).acquire(), { code: 'ERR_LOCK_CLOSED' });
    refused.catch(() => {}); // It is awaited below, unless something else fails before.
    await until(async () => (await a.inspect(name)).waiters.length === 1);
    const closing = b.close();
    await refused;
    await assert.rejects(b.lock(name).acquire(), { code: 'ERR_LOCK_CLOSED' });
    await own.release();
    await closing;
    await held.release();
    await until(async () => (await a.inspect(name)).waiters.length === 0);
  });

  add('keeps records beside a lock, and knows of none that was not written', 2, async (name, here, there) => {
    const [a, b] = [here.lock(name).records, there.lock(name).records];
    assert.equal(await b.read('key'), undefined);
    await a.write('key', 'one');
    await a.write('key', 'two €');
    assert.equal(await b.read('key'), 'two €');
    assert.equal(await b.read('another'), undefined);
  });
}

type Semaphore = ReturnType<EngineLocks['semaphore']>;

let names = 0;

async function turnOfLoop(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

async function untilWithin(limit: number, look: () => Promise<boolean>): Promise<void> {
  const error = new assert.AssertionError({ message: `the state that was waited for did not come within ${limit} ms` });
  const deadline = new Deadline(limit);
  for (; !(await look()); await turnOfLoop()) if (deadline.left === 0) throw error;
}

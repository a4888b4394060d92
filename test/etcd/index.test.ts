import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EtcdLocks, type EtcdLocksOptions } from '../../src/etcd/index.js';
import type { LockTimeoutError } from '../../src/index.js';
import { engineTests } from '../suites/engine.js';
import { lockSuite } from '../suites/lock.js';
import { readerWriterSuite } from '../suites/reader-writer-lock.js';
import { forkProgram } from '../support/programs.js';
import { TcpProxy } from '../support/proxy.js';
import { rounds } from '../support/scale.js';
import { EtcdServer, hasEtcd, hasEtcdctl } from '../support/servers.js';
import { outcome, until } from '../support/waiting.js';

describe.runIf(hasEtcd && hasEtcdctl)('EtcdLocks (needs etcd and etcdctl)', () => {
  let server: EtcdServer;
  const open: EtcdLocks[] = [];

  beforeAll(async () => {
    server = await EtcdServer.start();
  });

  function locks(options: Partial<EtcdLocksOptions> = {}): EtcdLocks {
    const made = new EtcdLocks({ endpoints: server.url, ttl: 5000, ...options });
    open.push(made);
    return made;
  }

  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  const keys = (): string[] =>
    server
      .ctl('get', 'fairlock/', '--prefix', '--keys-only')
      .split('\n')
      .filter((key) => key !== '' && !key.endsWith('.token-base'));
  const leaseOf = (key: string): string => /-?([0-9a-f]+)-[0-9a-f]+$/.exec(key)?.[1] ?? '';

  async function watchers(): Promise<number> {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^etcd_debugging_mvcc_watcher_total (\d+)/m.exec(metrics)?.[1]);
  }

  let names = 0;
  const name = (): string => `test ${++names}`;

  describe('one process', () => {
    let shared: EtcdLocks;
    beforeAll(() => {
      shared = new EtcdLocks({ endpoints: server.url });
    });
    lockSuite('a lock', () => shared.lock(name()), rounds(100, 2_000));
    readerWriterSuite('a reader/writer lock', () => shared.readerWriterLock(name()));
  });

  it('two processes exclude each other, in order, and tokens grow from the time of day on', async () => {
    const lock = name();
    const [here, there] = [locks().lock(lock), locks().lock(lock)];
    const first = await here.acquire();
    expect(await there.tryAcquire()).toBeNull();
    const waiting = outcome(there.acquire());
    await until(async () => (await here.inspect()).waiters.length === 1);
    const third = outcome(locks().lock(lock).acquire());
    await until(async () => (await here.inspect()).waiters.length === 2);
    await first.release();
    await until(() => waiting.state === 'fulfilled');
    expect(third.state).toBe('pending');
    expect(waiting.value?.token).toBeGreaterThan(first.token);
    expect(first.token).toBeGreaterThan(Date.now() - 1e9);
    await waiting.value?.release();
    await until(() => third.state === 'fulfilled');
    await third.value?.release();
    expect(keys()).toEqual([]);
  });

  it('names that contain each other are different locks', async () => {
    const [a, b] = [await locks().lock('a').acquire(), await locks().lock('a/b').acquire()];
    expect([a.released, b.released]).toEqual([false, false]);
    await a.release();
    await b.release();
  });

  it('readers share, a waiting writer stops later readers', async () => {
    const lock = name();
    const [a, b, c] = [1, 2, 3].map(() => locks().readerWriterLock(lock)) as [
      ReturnType<EtcdLocks['readerWriterLock']>,
      ReturnType<EtcdLocks['readerWriterLock']>,
      ReturnType<EtcdLocks['readerWriterLock']>,
    ];
    const readers = [await a.acquireRead(), await b.acquireRead()];
    expect(await c.tryAcquireWrite()).toBeNull();
    const writer = outcome(c.acquireWrite());
    await until(async () => (await a.inspect()).waiters.length === 1);
    expect(await b.tryAcquireRead()).toBeNull();
    for (const reader of readers) await reader.release();
    await until(() => writer.state === 'fulfilled');
    expect(await a.tryAcquireRead()).toBeNull();
    await writer.value?.release();
  });

  engineTests(() => new EtcdLocks({ endpoints: server.url, ttl: 5000, prefix: 'suite/' }));

  it('etcdctl lock excludes us and is excluded', async () => {
    const lock = name();
    const child = spawn('etcdctl', ['--endpoints', server.url, 'lock', `fairlock/${lock}`], {
      env: { ...process.env, ETCDCTL_API: '3' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    const here = locks().lock(lock);
    expect(await here.tryAcquire()).toBeNull();
    const waiting = here.acquire();
    child.kill('SIGTERM');
    await (await waiting).release();
  });

  it('a key that is deleted from outside: the signal, at once', async () => {
    const handle = await locks().lock(name()).acquire();
    const lost = once(handle.signal, 'abort');
    server.ctl('del', 'fairlock/test', '--prefix');
    await lost;
    expect(handle.signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST' });
    await expect(handle.verify()).rejects.toMatchObject({ code: 'ERR_LOCK_LOST' });
    await handle.release();
  });

  // On a busy machine a call may take seconds: one that is taken for lost has its request queued anew, further back. And
  // the looks by etcdctl block this thread, which must not cost the lease.
  const PATIENT = { ttl: 60_000, callTimeout: 60_000 };

  it.each(['lease', 'key'])(
    'a waiter whose %s is gone gets a new key, and is never granted on the dead one',
    async (what) => {
      const lock = name();
      const holder = await locks(PATIENT).lock(lock).acquire();
      const before = keys();
      const waiting = outcome(locks(PATIENT).lock(lock).acquire());
      await until(() => keys().length === 2);
      const waiters = (): string[] => keys().filter((key) => !before.includes(key));
      const [key] = waiters() as [string];
      // The waiter has looked for the last time on its own account: only an event makes it look again.
      await until(async () => (await watchers()) > 1);
      for (let looks = 0; looks < 3; looks++) await watchers();
      if (what === 'lease') server.ctl('lease', 'revoke', leaseOf(key));
      else server.ctl('del', key);
      await until(() => waiters().length === 1 && waiters()[0] !== key);
      expect(waiting.state).toBe('pending');
      await holder.release();
      await until(() => waiting.state === 'fulfilled');
      expect(waiting.value?.signal.reason).toBeUndefined();
      await waiting.value?.release();
    },
  );

  it('a waiter behind another one whose key is gone gets a new key, at the end of the queue', async () => {
    const lock = name();
    const holder = await locks(PATIENT).lock(lock).acquire();
    const order: string[] = [];
    const ask = (who: string): Promise<void> =>
      locks(PATIENT)
        .lock(lock)
        .withLock(() => void order.push(who));
    const next = ask('next');
    await until(() => keys().length === 2);
    const before = keys();
    const behind = ask('behind');
    await until(() => keys().length === 3);
    const key = keys().find((one) => !before.includes(one)) as string;
    // The holder's, that of the next one, and two: its own key, and the one before it.
    await until(async () => (await watchers()) > 3);
    for (let looks = 0; looks < 3; looks++) await watchers();
    server.ctl('del', key);
    await until(() => keys().length === 3 && !keys().includes(key));
    const last = ask('last');
    await until(() => keys().length === 4);
    const queue = keys();
    await holder.release();
    await Promise.all([next, behind, last]);
    expect(order, queue.join()).toEqual(['next', 'behind', 'last']);
  });

  it('all keys of a lock deleted at once: the waiter is not granted on its own, which is gone too', async () => {
    for (let round = 0; round < rounds(1, 10); round++) {
      const lock = name();
      await locks().lock(lock).acquire();
      const waiting = locks().lock(lock).acquire();
      await until(() => keys().length === 2);
      const before = keys();
      await until(async () => (await watchers()) > 1);
      server.ctl('del', '--prefix', (before[0] as string).replace(/[^/]*$/, ''));
      const handle = await waiting;
      expect(before).not.toContain(keys()[0]);
      await handle.verify();
      await handle.release();
      await until(() => keys().length === 0);
    }
  });

  it('random aborts leave no key', async () => {
    const lock = name();
    const [a, b] = [locks().lock(lock), locks().lock(lock)];
    for (let i = 0; i < rounds(60, 300); i++) {
      const controller = new AbortController();
      const holder = i % 3 === 0 ? await b.acquire() : undefined;
      const wait = a.acquire({ signal: controller.signal });
      wait.catch(() => {});
      for (let turn = 0; turn < i % 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      const late = holder?.release();
      await (await wait.catch(() => undefined))?.release();
      await late;
    }
    await (await a.acquire()).release();
    await until(() => keys().length === 0);
  });

  it('a process that is killed: the next one is granted when its lease is over', async () => {
    const lock = name();
    const child = forkProgram('etcd-holder.mjs', [server.url, lock]);
    await once(child, 'message');
    const waiting = locks().lock(lock).acquire();
    child.kill('SIGKILL');
    await (await waiting).release();
  });

  // It takes as long as the outage, and some seconds until etcd is back.
  it('a restart of etcd: the holder keeps the lock, the waiter its place', async () => {
    const lock = name();
    const handle = await locks({ ttl: 15_000 }).lock(lock).acquire();
    const other = locks({ ttl: 15_000 });
    const waiting = outcome(other.lock(lock).acquire());
    await until(async () => (await other.inspect(lock)).waiters.length === 1);
    const before = keys();
    await server.kill('SIGKILL');
    // Down for longer than a renewal takes to come, which is a fifth of the time to live.
    const killed = performance.now();
    await until(() => performance.now() - killed > 3200);
    await server.run();
    await until(async () =>
      handle.verify().then(
        () => true,
        () => false,
      ),
    );
    expect([handle.signal.aborted, waiting.state, keys()]).toEqual([false, 'pending', before]);
    await handle.release();
    await until(() => waiting.state === 'fulfilled');
    await waiting.value?.release();
  });

  it('an event loop that is blocked past the lease: the next statement knows', async () => {
    const handle = await locks().lock(name()).acquire();
    expect(handle.signal.aborted).toBe(false);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3400);
    expect(handle.signal.aborted).toBe(true);
    expect(() => handle.check()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
    await handle.release();
  });

  it('an outage longer than the time to live: the signal, then acquire works again', async () => {
    const lock = locks().lock(name());
    const handle = await lock.acquire();
    const lost = once(handle.signal, 'abort');
    server.signal('SIGSTOP');
    await lost;
    await expect(lock.tryAcquire()).resolves.toBeNull(); // This process holds it still, for its own sake.
    await expect(locks({ callTimeout: 200 }).lock(name()).tryAcquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_ENGINE',
    });
    const released = handle.release();
    const again = lock.acquire();
    server.signal('SIGCONT');
    await released;
    await (await again).release();
  });

  // Each round takes the time to live, five seconds.
  it('a partition: the signal of the holder comes before the next grant', async () => {
    for (let round = 0; round < rounds(1, 20); round++) {
      const lock = name();
      const proxy = await TcpProxy.to(server.port);
      const holder = locks({ endpoints: `http://127.0.0.1:${proxy.port}`, callTimeout: 1000 });
      const handle = await holder.lock(lock).acquire();
      const order: string[] = [];
      handle.signal.addEventListener('abort', () => order.push('lost'));
      const waiting = locks()
        .lock(lock)
        .acquire()
        .then((next) => {
          order.push('granted');
          return next;
        });
      proxy.swallow();
      await (await waiting).release();
      expect(order).toEqual(['lost', 'granted']);
      proxy.cut();
      await handle.release();
    }
  });

  it('credentials: wrong ones reject at once, right ones lock', async () => {
    const guarded = await EtcdServer.start();
    guarded.ctl('user', 'add', 'root:secret');
    guarded.ctl('user', 'grant-role', 'root', 'root');
    guarded.ctl('auth', 'enable');
    const as = (credentials: Partial<EtcdLocksOptions>): EtcdLocks => locks({ endpoints: guarded.url, ...credentials });
    for (const credentials of [{}, { username: 'root', password: 'wrong' }]) {
      await expect(as(credentials).lock('x').acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    }
    await (await as({ username: 'root', password: 'secret' }).lock('x').acquire()).release();
  });

  it('TLS: with its authority it locks, without it no', async () => {
    const { url, ca } = await EtcdServer.startWithTls();
    const secure = locks({ endpoints: url, tls: { ca } });
    await (await secure.lock('x').acquire()).release();
    await expect(locks({ endpoints: url, callTimeout: 500 }).lock('x').tryAcquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_ENGINE',
    });
  });

  it('a timeout names host, process and since when', async () => {
    const lock = name();
    const handle = await locks().lock(lock).acquire();
    // The error waits for the answer of the server, but not for long.
    const other = locks().lock(lock);
    const timeout = (): Promise<LockTimeoutError> =>
      other.acquire({ timeout: 20 }).then(
        () => expect.fail('granted'),
        (error) => error,
      );
    expect(await until(async () => [await timeout()].find(({ holders }) => holders.length > 0))).toMatchObject({
      code: 'ERR_LOCK_TIMEOUT',
      holders: [{ pid: process.pid, host: expect.any(String), since: expect.any(Date), shared: false }],
      message: expect.stringMatching(new RegExp(`pid ${process.pid} on .* since `)),
    });
    await handle.release();
  });

  it('several endpoints: one that does not answer is passed over', async () => {
    const lock = locks({ endpoints: ['http://127.0.0.1:1', server.url] }).lock(name());
    await (await lock.acquire()).release();
  });

  it('bad options name what is wrong', () => {
    expect(() => new EtcdLocks({ endpoints: [] })).toThrow('endpoints');
    expect(() => new EtcdLocks({ endpoints: 'x', ttl: 1000 })).toThrow('ttl');
    expect(() => new EtcdLocks({ endpoints: 'x', lease: 1 } as never)).toThrow('lease: there is no such option');
  });
});

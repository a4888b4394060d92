import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LockTimeoutError } from '../../src/index.js';
import { loadAddon } from '../../src/native/addon.js';
import { type FencedHandle, PostgresLocks, type PostgresLocksOptions, schemaSql } from '../../src/postgres/index.js';
import { engineTests } from '../suites/engine.js';
import { lockSuite } from '../suites/lock.js';
import { readerWriterSuite } from '../suites/reader-writer-lock.js';
import { root } from '../support/paths.js';
import { connectedTo } from '../support/postgres-client.js';
import { forkProgram, runScript } from '../support/programs.js';
import { TcpProxy } from '../support/proxy.js';
import { isSoak, rounds } from '../support/scale.js';
import { hasPgBouncer, hasPostgres, PostgresServer, startPgBouncer, startYesServer } from '../support/servers.js';
import { outcome, until } from '../support/waiting.js';

describe.runIf(hasPostgres)('PostgresLocks (needs PostgreSQL)', () => {
  let server: PostgresServer;
  const open: PostgresLocks[] = [];

  beforeAll(async () => {
    server = await PostgresServer.start();
    // A server that was just started grants after a while: see the test of the grace.
    const client = await query();
    await client.end();
  });

  function locks(options: Partial<PostgresLocksOptions> = {}): PostgresLocks {
    const made = new PostgresLocks({ connectionString: server.url, lossAfter: 5000, ...options });
    open.push(made);
    return made;
  }

  async function query(): Promise<pg.Client> {
    const client = new pg.Client(server.url);
    await client.connect();
    return client;
  }

  async function rows(text: string): Promise<Record<string, unknown>[]> {
    const client = await query();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  const advisory = async (): Promise<number> =>
    (await rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")).length;

  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  let names = 0;
  const name = (): string => `test ${++names}`;

  describe('one process', () => {
    let shared: PostgresLocks;
    beforeAll(() => {
      shared = new PostgresLocks({ connectionString: server.url, lossAfter: 5000 });
    });
    lockSuite('a lock', () => shared.lock(name()), rounds(200, 5_000));
    readerWriterSuite('a reader/writer lock', () => shared.readerWriterLock(name()));
  });

  // Not `locks()`: a case closes its clients itself.
  engineTests(() => new PostgresLocks({ connectionString: server.url, lossAfter: 5000 }));

  it('a semaphore has no more holders than permits, also of one process', async () => {
    const semaphore = name();
    const [a, b] = [locks().semaphore(semaphore, { permits: 2 }), locks().semaphore(semaphore, { permits: 2 })];
    const tried = await Promise.all([a.tryAcquire(), a.tryAcquire(), b.tryAcquire(), b.tryAcquire()]);
    const held = tried.filter((one) => one !== null);
    expect(held.length).toBeLessThanOrEqual(2);
    expect((await a.inspect()).holders.length).toBe(held.length);
    for (const one of held) await one.release();
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside++;
      most = Math.max(most, inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? a : b).withPermit(work)));
    expect(most).toBeLessThanOrEqual(2);
    await until(async () => (await advisory()) === 0); // withPermit does not wait for the release.
  });

  it('two names for one key exclude each other, in one process too', async () => {
    const one = locks();
    const [a, b] = [one.lock(name(), { key: 4711n }), one.lock(name(), { key: 4711n })];
    const tried = await Promise.all([a.tryAcquire(), b.tryAcquire()]);
    expect(tried.filter((handle) => handle !== null).length).toBe(1);
    const waiting = outcome((tried[0] === null ? a : b).acquire());
    await tried.find((handle) => handle !== null)?.release();
    await until(() => waiting.state === 'fulfilled');
    await waiting.value?.release();
  });

  it('1 000 locks that are free need one connection', async () => {
    let opened = 0;
    const connect = async (): Promise<pg.Client> => {
      opened++;
      return query();
    };
    const made = locks({ connectionString: undefined, connect } as never);
    const handles: FencedHandle[] = [];
    for (let i = 0; i < 1000; i++) handles.push(await made.lock(name()).acquire());
    // The second one was for the probe.
    expect(opened).toBe(2);
    expect(await rows("SELECT count(DISTINCT pid)::int FROM pg_locks WHERE locktype = 'advisory'")).toEqual([
      { count: 1 },
    ]);
    await Promise.all(handles.map((handle) => handle.release()));
    expect(await advisory()).toBe(0);
  });

  it('a grant takes two statements, free or contended: one that locks and draws the token, one that unlocks', async () => {
    let statements = 0;
    const connect = (): Promise<pg.Client> => connectedTo(server.url, () => void statements++);
    const [free, contended] = [name(), name()];
    const [a, b] = [locks({ connectionString: undefined, connect }), locks({ connectionString: undefined, connect })];
    const grants = rounds(100, 1000);
    const work = async (lock: ReturnType<PostgresLocks['lock']>): Promise<void> => {
      for (let i = 0; i < grants; i++) await (await lock.acquire()).release();
    };
    await (await a.lock(free).acquire()).release(); // Connected, and probed.
    statements = 0;
    await work(a.lock(free));
    // Some more: every three seconds the connections are asked whether they live.
    expect(statements).toBeLessThanOrEqual(2 * grants + 10);
    await (await b.lock(free).acquire()).release();
    statements = 0;
    await Promise.all([work(a.lock(contended)), work(b.lock(contended))]);
    expect(statements / (2 * grants)).toBeLessThan(2.3);
  });

  it('random aborts leave no lock, and the connections go on', async () => {
    const lock = name();
    const [here, there] = [locks(), locks()];
    const [a, b] = [here.lock(lock), there.lock(lock)];
    for (let i = 0; i < rounds(100, 300); i++) {
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
    (await a.acquire()).release();
    await until(async () => (await advisory()) === 0);
  });

  it('a backend that is terminated: the signal, at once, and a new one is acquired', async () => {
    const lock = locks().lock(name());
    const handle = await lock.acquire();
    const lost = once(handle.signal, 'abort');
    await rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'");
    await lost;
    expect(handle.signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST' });
    expect(() => handle.check()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
    await handle.release();
    await (await lock.acquire()).release();
  });

  it.runIf(loadAddon().api !== undefined)(
    'check() knows what the kernel knows, before the event loop does',
    async () => {
      const handle = await locks().lock(name()).acquire();
      const program = `
      const client = new (require('pg').Client)(${JSON.stringify(server.url)});
      const all = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'";
      client.connect().then(() => client.query(all)).then(() => client.end());`;
      expect(spawnSync(process.execPath, ['-e', program], { cwd: root }).status).toBe(0);
      // Not one event has been served since.
      expect(() => handle.check()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
      expect(handle.signal.aborted).toBe(true);
      await handle.release();
    },
  );

  it('a process that is killed: the next one is granted', async () => {
    const lock = name();
    const child = forkProgram('postgres-holder.mjs', [server.url, lock]);
    await once(child, 'message');
    const waiting = locks().lock(lock).acquire();
    child.kill('SIGKILL');
    await (await waiting).release();
  });

  it.runIf(isSoak)(
    'an outage of the server: what is held is lost, what is waited for is granted when it is back',
    async () => {
      const lock = name();
      const [here, there] = [locks().lock(lock), locks().lock(lock)];
      const handle = await here.acquire();
      const lost = once(handle.signal, 'abort');
      const waiting = outcome(there.acquire());
      await until(async () => (await here.inspect()).waiters.length === 1);
      await server.kill('SIGKILL');
      await lost;
      await expect(there.tryAcquire()).resolves.toBeNull();
      await expect(locks().lock(lock).tryAcquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
      await server.run();
      await until(() => waiting.state === 'fulfilled');
      await waiting.value?.release();
    },
  );

  // It takes `lossAfter`, five seconds.
  it('a connection that swallows everything: lost by the clock, and the next statement knows', async () => {
    const proxy = await TcpProxy.to(server.port);
    const cut = locks({ connectionString: server.url.replace(String(server.port), String(proxy.port)) });
    const lock = name();
    const handle = await cut.lock(lock).acquire();
    const lost = once(handle.signal, 'abort');
    proxy.swallow();
    await lost;
    expect(() => handle.check()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
    proxy.cut(); // The server learns of it.
    await (await locks().lock(lock).acquire()).release();
    await handle.release();
  });

  it('a holder that is stopped keeps the lock: its session lives', async () => {
    const lock = name();
    const child = forkProgram('postgres-holder.mjs', [server.url, lock]);
    await once(child, 'message');
    child.kill('SIGSTOP');
    expect(await locks().lock(lock).tryAcquire()).toBeNull();
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await (await locks().lock(lock).acquire()).release();
  });

  it('a wait that was granted just before it is aborted leaves no lock', async () => {
    const lock = name();
    const child = forkProgram('postgres-holder.mjs', [server.url, lock]);
    await once(child, 'message');
    const controller = new AbortController();
    // Longer than this thread is blocked on a busy machine, or the connection is taken for lost. Such locks are granted
    // when the server has run for as long: so the test comes late.
    const patient = locks({ lossAfter: 20_000 });
    const waiting = outcome(patient.lock(lock).acquire({ signal: controller.signal }));
    const queued = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    const { pid } = await until(async () => (await rows(queued))[0]);
    child.kill('SIGKILL');
    // While this thread is blocked the server grants the lock, and the answer is not read yet.
    const script = `
      import pg from 'pg';
      const client = new pg.Client('${server.url}');
      await client.connect();
      while ((await client.query("${queued}")).rows.length > 0);
      await client.end();`;
    const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root });
    controller.abort();
    expect(status).toBe(0);
    await until(() => waiting.state === 'rejected');
    // Unlocked, and not by the end of its connection, which may be long after.
    const locked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'";
    const lives = `SELECT 1 FROM pg_stat_activity WHERE pid = ${pid}`;
    const look = `SELECT EXISTS(${locked}) AS locked, EXISTS(${lives}) AS lives`;
    const seen = await until(async () => (await rows(look)).find(({ locked }) => locked === false));
    expect(seen.lives).toBe(true);
  });

  it('a timeout names the host and process of the holder', async () => {
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
      holders: [{ pid: process.pid, host: expect.any(String), shared: false }],
      message: expect.stringContaining(`pid ${process.pid} on `),
    });
    await handle.release();
  });

  it('lockInTransaction excludes lock() of the same name, until the transaction ends', async () => {
    const lock = name();
    const client = await query();
    await client.query('BEGIN');
    await PostgresLocks.lockInTransaction(client, lock);
    const here = locks().lock(lock);
    expect(await here.tryAcquire()).toBeNull();
    await client.query('COMMIT');
    await (await here.acquire()).release();
    await client.end();
  });

  it('a role that may not draw tokens gets an error, and no lock stays', async () => {
    await rows(schemaSql('denied'));
    await rows('REVOKE ALL ON SEQUENCE denied.token FROM PUBLIC');
    await rows('CREATE ROLE plain LOGIN');
    const lock = name();
    const plain = locks({ connectionString: server.url.replace('postgres@', 'plain@'), schema: 'denied' });
    for (const wanted of [plain.lock(lock), plain.semaphore(lock, { permits: 1 })]) {
      await expect(wanted.acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
      await expect(wanted.tryAcquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    }
    await until(async () => (await advisory()) === 0);
  });

  it('wrong credentials and a database that is not there reject at once', async () => {
    const nowhere = locks({ connectionString: server.url.replace(/postgres$/, 'nowhere') });
    await expect(nowhere.lock('x').acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
  });

  it.runIf(hasPgBouncer)('transaction pooling is refused, session pooling works', async () => {
    const pooled = locks({ connectionString: await startPgBouncer(server, 'transaction') });
    await expect(pooled.lock(name()).acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_UNSUPPORTED',
      message: expect.stringContaining('lockInTransaction'),
    });
    const session = locks({ connectionString: await startPgBouncer(server, 'session') });
    const lock = name();
    const handle = await session.lock(lock).acquire();
    expect(await locks().lock(lock).tryAcquire()).toBeNull();
    await handle.release();
  });

  it('a server that grants one lock to two sessions is refused', async () => {
    const lying = locks({ connectionString: await startYesServer() });
    await expect(lying.lock(name()).acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_UNSUPPORTED',
      message: expect.stringContaining('two sessions at once'),
    });
  });

  it('with handOver the next local waiters are served before other processes, that many times', async () => {
    const lock = name();
    const [here, there] = [locks().lock(lock, { handOver: 2 }), locks().lock(lock)];
    const order: string[] = [];
    const holder = await here.acquire();
    const other = there.withLock(() => void order.push('there'));
    await until(async () => (await here.inspect()).waiters.length === 1);
    const local = Array.from({ length: 4 }, (_, i) => here.withLock(() => void order.push(`here ${i}`)));
    await holder.release();
    await Promise.all([...local, other]);
    expect(order).toEqual(['here 0', 'here 1', 'there', 'here 2', 'here 3']);
  });

  it('re-entrant within withLock', async () => {
    const lock = locks().lock(name(), { reentrant: true });
    await lock.withLock(async (outer) => {
      await lock.withLock((inner) => expect(inner.token).toBe(outer.token));
    });
    expect(lock.held).toBe(false);
  });

  it('a process that only waits stays alive, one that only holds or has released ends', async () => {
    const lock = name();
    const program = `
      import { PostgresLocks } from 'fairlock/postgres';
      const lock = new PostgresLocks({ connectionString: ${JSON.stringify(server.url)} }).lock(${JSON.stringify(lock)});
      const handle = await lock.acquire();
      console.log('held');
      if (process.argv[1] === 'release') await handle.release();`;
    expect((await runScript(program)).stdout).toBe('held\n');
  });

  it('bad options name what is wrong', () => {
    expect(() => new PostgresLocks({} as never)).toThrow('exactly one');
    expect(() => new PostgresLocks({ connectionString: 'x', maxConnections: 1 })).toThrow('maxConnections');
    expect(() => new PostgresLocks({ connectionString: 'x', url: 'y' } as never)).toThrow(
      'url: there is no such option',
    );
  });
});

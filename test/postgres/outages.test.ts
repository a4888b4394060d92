/** Waits that end, and say why they go on: connections that are dead or refused, slots, failovers, pools of one. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import pg from 'pg';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FencedHandle, PostgresLocks, type PostgresLocksOptions } from '../../src/postgres/index.js';
import { keyOf } from '../../src/postgres/keys.js';
import { connectedTo } from '../support/postgres-client.js';
import { TcpProxy } from '../support/proxy.js';
import { isSoak } from '../support/scale.js';
import { hasPgBouncer, hasPostgres, PostgresServer, startPgBouncer } from '../support/servers.js';
import { outcome, settle, until } from '../support/waiting.js';

describe.runIf(hasPostgres)('PostgreSQL: waits that end (needs PostgreSQL)', () => {
  let server: PostgresServer;
  const open: PostgresLocks[] = [];
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  function locks(options: Partial<PostgresLocksOptions> = {}): PostgresLocks {
    const made = new PostgresLocks({ connectionString: server.url, lossAfter: 5000, ...options });
    open.push(made);
    return made;
  }

  async function sql(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client(server.url);
    await client.connect();
    try {
      return (await client.query(text, values)).rows;
    } finally {
      await client.end();
    }
  }

  let names = 0;
  const name = (): string => `outage ${++names}`;
  const waitsOn = (count: number) => () =>
    sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").then((rows) => rows.length === count);

  it('a wait for a connection that has timed out leaves the next one its place', async () => {
    const [few, other] = [locks({ maxConnections: 2 }), locks()];
    const [x, y, z] = [name(), name(), name()];
    const [theirX, theirY, theirZ] = await Promise.all([x, y, z].map((one) => other.lock(one).acquire()));
    const first = few.lock(x).acquire();
    await until(waitsOn(1));
    await expect(few.lock(y).acquire({ timeout: 50 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    const last = few.lock(z).acquire();
    await settle();
    await theirX?.release();
    await (await first).release();
    await theirY?.release();
    await theirZ?.release();
    await (await last).release();
  });

  it('a connection that is killed makes room for another', async () => {
    const [few, other] = [locks({ maxConnections: 2 }), locks()];
    const [x, y] = [name(), name()];
    const [theirX, theirY] = await Promise.all([x, y].map((one) => other.lock(one).acquire()));
    const first = few.lock(x).acquire();
    await until(waitsOn(1));
    const second = few.lock(y).acquire();
    await settle();
    await theirX?.release();
    const held = await first;
    const lost = new Promise((resolve) => held.signal.addEventListener('abort', resolve));
    await sql(
      `SELECT pg_terminate_backend(pid) FROM pg_locks
       WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = $1`,
      [keyOf(x).toString()],
    );
    await lost;
    await until(waitsOn(1));
    await theirY?.release();
    await (await second).release();
  });

  it('what is free is granted though all connections are held by other locks of the process', async () => {
    const [few, other] = [locks({ maxConnections: 2 }), locks()];
    const [x, y] = [name(), name()];
    const [theirX, theirY] = await Promise.all([x, y].map((one) => other.lock(one).acquire()));
    const first = few.lock(x).acquire();
    await until(waitsOn(1));
    await theirX?.release();
    const held = await first; // On the only connection that there is for waits.
    const second = few.lock(y).acquire();
    await settle();
    await theirY?.release();
    const handle = await second;
    expect(handle.token).toBeGreaterThan(held.token);
    await handle.release();
    await held.release();
  });

  it('one statement that fails takes no other lock away', async () => {
    const here = locks();
    const held = await here.lock(name()).acquire();
    await sql(`ALTER SYSTEM SET default_transaction_read_only = on`);
    await sql('SELECT pg_reload_conf()');
    try {
      const other = here.lock(name());
      await until(() =>
        other.tryAcquire().then(
          async (handle) => void (await handle?.release()),
          (error) => /read-only/.test(error.message),
        ),
      );
      // A wait cannot mend it, and ends at once.
      await expect(other.acquire()).rejects.toMatchObject({
        code: 'ERR_LOCK_ENGINE',
        message: expect.stringContaining('read-only'),
      });
      expect(held.signal.aborted).toBe(false);
      await held.verify();
    } finally {
      const client = new pg.Client(server.url);
      await client.connect();
      await client.query('SET default_transaction_read_only = off');
      await client.query('ALTER SYSTEM RESET default_transaction_read_only');
      await client.query('SELECT pg_reload_conf()');
      await client.end();
    }
    await held.release();
    await until(async () => (await sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")).length === 0);
  });

  it('close rejects waiters, and what is asked for from then on', async () => {
    const [here, other] = [locks(), locks()];
    const lock = name();
    const held = await other.lock(lock).acquire();
    const waiting = here.lock(lock).acquire();
    const refused = expect(waiting).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
    await until(waitsOn(1));
    await here.close();
    await refused;
    for (const asked of [here.lock(lock), here.lock(name())])
      await expect(asked.acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
    await held.release();
    await (await other.lock(lock).acquire()).release();
  });

  it('a timeout tells the last error of the service, and onWait too', async () => {
    const proxy = await TcpProxy.to(1); // Nothing listens there.
    const here = locks({ connectionString: server.url.replace(String(server.port), String(proxy.port)) });
    let told: unknown;
    const error = await here
      .lock(name())
      .acquire({ timeout: 1500, waitNotice: 500, onWait: ({ cause }) => (told = cause) })
      .catch((reason) => reason);
    expect(error).toMatchObject({ code: 'ERR_LOCK_TIMEOUT', cause: { code: 'ERR_LOCK_ENGINE' } });
    expect(error.message).toContain('the last error was');
    expect(told).toMatchObject({ code: 'ERR_LOCK_ENGINE' });
  });

  it('what waiting cannot mend rejects at once: TLS that is refused, a name that is not known', async () => {
    for (const connectionString of [`${server.url}?sslmode=require`, 'postgres://postgres@nowhere.invalid:5432/x']) {
      const refusal = locks({ connectionString }).lock(name()).acquire();
      await expect(refusal).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    }
  });

  // Each takes `lossAfter`, five seconds.
  it.runIf(isSoak)('a connection that dies silently: tries say so, and waits go on by another one', async () => {
    const proxy = await TcpProxy.to(server.port);
    const here = locks({ connectionString: server.url.replace(String(server.port), String(proxy.port)) });
    await (await here.lock(name()).acquire()).release();
    proxy.swallowOld();
    const lock = here.lock(name());
    await expect(lock.tryAcquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    await (await lock.acquire()).release();
  });

  it.runIf(isSoak)('a wait whose connection dies silently is granted by another one', async () => {
    const proxy = await TcpProxy.to(server.port);
    const here = locks({ connectionString: server.url.replace(String(server.port), String(proxy.port)) });
    const other = locks();
    const lock = name();
    const held = await other.lock(lock).acquire();
    const waiting = outcome(here.lock(lock).acquire());
    await until(waitsOn(1));
    proxy.swallowOld();
    await held.release();
    await until(() => waiting.state === 'fulfilled');
    await (waiting.value as FencedHandle).release();
  });

  it.runIf(isSoak && hasPgBouncer).each(['session', 'transaction'] as const)(
    'a PgBouncer with one connection to the server is refused, %s pooling',
    async (mode) => {
      const pooled = locks({ connectionString: await startPgBouncer(server, mode, 1) });
      await expect(pooled.lock(name()).acquire()).rejects.toMatchObject({
        code: 'ERR_LOCK_UNSUPPORTED',
        message: expect.stringMatching(/one connection|transaction pooling/),
      });
    },
  );

  it.runIf(isSoak)('after an asynchronous failover that loses the last tokens they grow all the same', async () => {
    const primary = await PostgresServer.start();
    const before = new PostgresLocks({ connectionString: primary.url, lossAfter: 5000 });
    const lock = before.lock('failover');
    await (await lock.acquire()).release();
    const standby = await primary.standby();
    await standby.stopFollowing();
    let last = 0;
    for (let i = 0; i < 100; i++) {
      const handle = await lock.acquire();
      last = handle.token;
      await handle.release();
    }
    await primary.kill('SIGKILL');
    await standby.promote();
    const after = locks({ connectionString: standby.url });
    const handle = await after.lock('failover').acquire();
    expect(handle.token).toBeGreaterThan(last);
    await handle.release();
    await before.close();
    await after.close();
    await standby.kill('SIGKILL');
  });

  it.runIf(isSoak)('a connection that reaches another server than the others did is not waited on', async () => {
    const old = await PostgresServer.start();
    let { url } = old;
    const connect = (): Promise<pg.Client> => connectedTo(url);
    const [holder, here] = [locks({ connectionString: old.url }), locks({ connectionString: undefined, connect })];
    await (await here.lock('other').acquire()).release(); // The schema is there.
    const promoted = await old.standby();
    await promoted.promote();
    const held = await holder.lock('job').acquire();
    const told: string[] = [];
    const onOutage = (message: unknown): void => void told.push(String((message as { error: unknown }).error));
    subscribe('fairlock:outage', onOutage);
    // The name of the server leads to the promoted one, which knows nothing of the lock; the old one runs on.
    url = promoted.url;
    const waiting = outcome(here.lock('job').acquire());
    await until(() => told.some((one) => one.includes('another server')) || waiting.state !== 'pending');
    expect(waiting.state).toBe('pending');
    held.check();
    unsubscribe('fairlock:outage', onOutage);
    await old.kill('SIGKILL');
    await until(() => waiting.state === 'fulfilled');
    expect(() => held.check()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_LOST' }));
    await waiting.value?.release();
  });

  it.runIf(isSoak)('an abort after a failover ends its own wait, and no process of another server', async () => {
    const old = await PostgresServer.start();
    let { url } = old;
    /** What the promoted server is asked. */
    const statements: string[] = [];
    const connect = (): Promise<pg.Client> =>
      connectedTo(url, url === old.url ? undefined : (statement) => statements.push(JSON.stringify(statement)));
    const [holder, here] = [locks({ connectionString: old.url }), locks({ connectionString: undefined, connect })];
    const held = await holder.lock('job').acquire();
    const promoted = await old.standby();
    await promoted.promote();
    const controller = new AbortController();
    const waiting = outcome(here.lock('job').acquire({ signal: controller.signal }));
    const waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    await until(() => old.psql(waits) === '1');
    // The connection that cancels waits is lost, and made anew to the promoted server: its numbers are of other processes.
    url = promoted.url;
    old.psql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fairlock %'
       AND state = 'idle' AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')`,
    );
    await until(() => {
      void here.inspect('free').catch(() => {}); // By the connection that was lost, or makes it anew.
      return statements.length > 0;
    });
    controller.abort();
    await until(() => old.psql(waits) === '0');
    expect(waiting.state).toBe('rejected');
    expect(statements).not.toContainEqual(expect.stringMatching(/pg_(cancel|terminate)_backend/));
    expect(statements.length).toBeGreaterThan(0);
    held.check();
    await held.release();
  });
});

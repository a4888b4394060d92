import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EtcdLocks } from '../../src/etcd/index.js';
import { forkProgram } from '../support/programs.js';
import { rounds } from '../support/scale.js';
import { EtcdServer, hasEtcd, hasPostgres, PostgresServer } from '../support/servers.js';
import { until } from '../support/waiting.js';

interface Told {
  holds?: number;
  accepted?: boolean;
  lost?: string;
}

describe.runIf(hasEtcd && hasPostgres)('a holder that is stopped past its lease (needs etcd and PostgreSQL)', () => {
  let etcd: EtcdServer;
  let postgres: PostgresServer;
  let store: pg.Pool;

  beforeAll(async () => {
    [etcd, postgres] = await Promise.all([EtcdServer.start(), PostgresServer.start()]);
    store = new pg.Pool({ connectionString: postgres.url });
    await store.query('CREATE TABLE store (name text PRIMARY KEY, token bigint)');
  });
  afterAll(() => store.end());

  // It takes what a lease takes to run out, five seconds.
  it('knows it in its next statement, and the store accepts nothing of it any more', async () => {
    const holders = await Promise.all(
      Array.from({ length: rounds(2, 20) }, async (_, i) => {
        const name = `stopped ${i}`;
        await store.query('INSERT INTO store VALUES ($1, 0)', [name]);
        const told: Told[] = [];
        const child = forkProgram('etcd-writer.mjs', [etcd.url, postgres.url, name]);
        child.on('message', (message) => told.push(message as Told));
        await until(() => told.some(({ accepted }) => accepted));
        child.kill('SIGSTOP');
        return { name, told, child };
      }),
    );
    const locks = new EtcdLocks({ endpoints: etcd.url });
    await Promise.all(
      holders.map(async ({ name, told, child }) => {
        const handle = await locks.lock(name).acquire();
        const text = 'UPDATE store SET token = $1 WHERE name = $2 AND token <= $1';
        expect((await store.query(text, [handle.token, name])).rowCount).toBe(1);
        child.kill('SIGCONT');
        await until(() => told.some(({ lost }) => lost !== undefined));
        child.kill('SIGKILL');
        expect(told.at(-1)).toEqual({ lost: 'ERR_LOCK_LOST' });
        const { rows } = await store.query('SELECT token FROM store WHERE name = $1', [name]);
        expect(Number(rows[0].token)).toBe(handle.token);
        expect(handle.token).toBeGreaterThan(told[0]?.holds ?? Infinity);
        await handle.release();
      }),
    );
    await locks.close();
  });
});

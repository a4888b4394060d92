/** What an administrator's timeouts do to each call: see the table in docs/engines.md. */
import { once } from 'node:events';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { PostgresLocks } from '../../src/postgres/index.js';
import { isSoak } from '../support/scale.js';
import { hasPostgres, PostgresServer } from '../support/servers.js';
import { outcome, until } from '../support/waiting.js';

describe.runIf(hasPostgres && isSoak)('timeouts of a role (needs PostgreSQL)', () => {
  it.each([
    ['statement_timeout', '57014'],
    ['lock_timeout', '55P03'],
  ])('%s ends the wait of lockInTransaction, and no wait of ours', async (setting, code) => {
    const server = await PostgresServer.start();
    const holder = new PostgresLocks({ connectionString: server.url, lossAfter: 5000 });
    const held = await holder.lock('job').acquire();
    server.psql(`ALTER ROLE postgres SET ${setting} = 300`);
    const locks = new PostgresLocks({ connectionString: server.url, lossAfter: 5000 });
    const waiting = outcome(locks.lock('job').acquire());
    await until(async () => (await holder.inspect('job')).waiters.length === 1);
    const client = new pg.Client(server.url);
    await client.connect();
    await client.query('BEGIN');
    // It is over after the waiter's time was.
    await expect(PostgresLocks.lockInTransaction(client, 'job')).rejects.toMatchObject({ code });
    await client.end();
    expect(waiting.state).toBe('pending');
    await held.release();
    await until(() => waiting.state === 'fulfilled');
    await waiting.value?.release();
    await Promise.all([holder.close(), locks.close()]);
  });

  it.each([
    ['idle_in_transaction_session_timeout', 'BEGIN', '25P03'],
    ['idle_session_timeout', 'SELECT 1', '57P05'],
  ])('%s ends a client of the program, and no connection of ours', async (setting, statement, code) => {
    const server = await PostgresServer.start();
    server.psql(`ALTER ROLE postgres SET ${setting} = 300`);
    const locks = new PostgresLocks({ connectionString: server.url, lossAfter: 5000 });
    const handle = await locks.lock('job').acquire();
    const client = new pg.Client(server.url);
    client.on('error', () => {}); // After its first one pg tells that the connection is gone.
    await client.connect();
    const ended = once(client, 'error');
    await client.query(statement);
    if (statement === 'BEGIN') await PostgresLocks.lockInTransaction(client, 'other');
    expect((await ended)[0]).toMatchObject({ code });
    await handle.verify();
    await handle.release();
    await locks.close();
  });
});

/** Connections for waits, of a real server. */
import pg from 'pg';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Pool } from '../../src/postgres/pool.js';
import { Session } from '../../src/postgres/session.js';
import { hasPostgres, PostgresServer } from '../support/servers.js';

describe.runIf(hasPostgres)('the connections of a process (needs PostgreSQL)', () => {
  let server: PostgresServer;
  const opened: Session[] = [];
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterEach(() => {
    for (const one of opened.splice(0)) one.end('the test is over');
  });

  async function open(): Promise<Session> {
    const client = new pg.Client(server.url);
    await client.connect();
    const session = await Session.open(client, 5000);
    opened.push(session);
    return session;
  }

  it('one that is made for a request that is aborted meanwhile goes to the next request', async () => {
    const pool = new Pool(open, 1);
    const controller = new AbortController();
    const first = pool.take(controller.signal);
    controller.abort();
    await expect(first).rejects.toMatchObject({ name: 'AbortError' });
    const session = await pool.take(new AbortController().signal);
    expect(session.isEnded).toBe(false);
    expect(opened).toEqual([session]);
  });

  it('one that is made for a request that is aborted meanwhile ends where the pool was closed', async () => {
    const pool = new Pool(open, 1);
    const controller = new AbortController();
    const first = pool.take(controller.signal);
    controller.abort();
    pool.close();
    await expect(first).rejects.toMatchObject({ name: 'AbortError' });
    await expect.poll(() => opened.map(({ isEnded }) => isEnded)).toEqual([true]);
  });
});

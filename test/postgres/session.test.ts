/** One connection to a real server. */
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { Session } from '../../src/postgres/session.js';
import '../support/expose-gc.js';
import { hasPostgres, PostgresServer } from '../support/servers.js';

describe.runIf(hasPostgres)('a session (needs PostgreSQL)', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });

  it('keeps nothing of the statements that were answered', async () => {
    const client = new pg.Client(server.url);
    await client.connect();
    const session = await Session.open(client, 5000);
    const result = new WeakRef(await session.query('SELECT 1'));
    await session.query('SELECT 2'); // The client refers to the last one.
    const kept = (): unknown => {
      globalThis.gc?.();
      return result.deref();
    };
    await expect.poll(kept).toBeUndefined();
    session.end('the test is over');
  });
});

/**
 * What goes wrong with a lock service: what waiting cannot mend rejects and says why; what it may mend is waited for, and
 * told. Each row of the tables in docs/engines.md, on a real server.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { EngineLock } from '../../src/engine/index.js';
import { codeOf } from '../../src/errors.js';
import { EtcdLocks } from '../../src/etcd/index.js';
import { PostgresLocks } from '../../src/postgres/index.js';
import { RedisLocks } from '../../src/redis/index.js';
import { root } from '../support/paths.js';
import { TcpProxy } from '../support/proxy.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';
import {
  EtcdServer,
  freePort,
  hasEtcd,
  hasEtcdctl,
  hasPgBouncer,
  hasPostgres,
  PostgresServer,
  startPgBouncer,
} from '../support/servers.js';

type Locks = EtcdLocks | PostgresLocks | RedisLocks;
interface Row {
  /** As in the first column of the table. */
  readonly what: string;
  readonly comes: 'rejects' | 'waits';
  readonly says: RegExp;
  /** Of the suite; the others are in the soak. */
  readonly always?: boolean;
  make(): Promise<Locks>;
}

const open: Locks[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});
const etcd = (endpoints: string, options: object = {}): EtcdLocks => new EtcdLocks({ endpoints, ...options });
const postgres = (connectionString: string): PostgresLocks => new PostgresLocks({ connectionString, lossAfter: 5000 });

async function guarded(): Promise<EtcdServer> {
  const server = await EtcdServer.start();
  server.ctl('user', 'add', 'root:secret');
  server.ctl('user', 'grant-role', 'root', 'root');
  server.ctl('user', 'add', 'some:secret');
  server.ctl('auth', 'enable');
  return server;
}

/** Another authority than the server's. */
async function anotherAuthority(): Promise<Buffer> {
  return (await EtcdServer.startWithTls()).ca;
}

const ofEtcd: Row[] = [
  {
    what: 'no server at the address',
    comes: 'waits',
    says: /ECONNREFUSED/,
    always: true,
    make: async () => etcd(`http://127.0.0.1:${await freePort()}`),
  },
  {
    what: 'a server that takes connections and does not answer',
    comes: 'waits',
    says: /DEADLINE_EXCEEDED/,
    make: async () => {
      const proxy = await TcpProxy.to((await EtcdServer.start()).port);
      proxy.swallow();
      return etcd(`http://127.0.0.1:${proxy.port}`, { callTimeout: 1000 });
    },
  },
  {
    what: 'out of space (NOSPACE), and the lock is not in the queue yet',
    comes: 'waits',
    says: /space exceeded/,
    make: async () => {
      const server = await EtcdServer.start('--quota-backend-bytes', '400000');
      await server.fill();
      return etcd(server.url);
    },
  },
  {
    what: 'the name of the host is not known',
    comes: 'rejects',
    says: /ENOTFOUND|EAI_AGAIN|Name resolution failed/,
    make: async () => etcd('http://nowhere.invalid:2379'),
  },
  {
    what: 'a certificate of an authority that is not in `tls.ca`',
    comes: 'rejects',
    says: /certificate/,
    always: true,
    make: async () => etcd((await EtcdServer.startWithTls()).url, { tls: { ca: await anotherAuthority() } }),
  },
  {
    what: '`https` without `tls.ca`, of an authority of your own',
    comes: 'rejects',
    says: /certificate/,
    make: async () => etcd((await EtcdServer.startWithTls()).url),
  },
  {
    what: '`tls.ca` is not PEM',
    comes: 'rejects',
    says: /PEM|certificate|ASN1|asn1/,
    make: async () => etcd((await EtcdServer.startWithTls()).url, { tls: { ca: Buffer.from('no certificate') } }),
  },
  {
    what: 'a certificate for another host',
    comes: 'rejects',
    says: /altnames|alt.?name/i,
    make: async () => {
      const { url, ca } = await EtcdServer.startWithTls({ for: 'DNS:elsewhere.example' });
      return etcd(url, { tls: { ca } });
    },
  },
  {
    what: 'a certificate that has expired',
    comes: 'rejects',
    says: /expired/,
    make: async () => {
      const { url, ca } = await EtcdServer.startWithTls({ days: -1 });
      return etcd(url, { tls: { ca } });
    },
  },
  {
    what: '`https` to a server without TLS',
    comes: 'waits',
    // As the connection is closed before or after the greeting is sent.
    says: /before secure TLS connection was established|ECONNRESET|EPIPE/,
    make: async () => etcd((await EtcdServer.start()).url.replace('http:', 'https:')),
  },
  {
    what: '`http` to a server with TLS',
    comes: 'waits',
    says: /UNAVAILABLE/,
    make: async () => etcd((await EtcdServer.startWithTls()).url.replace('https:', 'http:')),
  },
];

const ofEtcdWithUsers: Row[] = [
  {
    what: 'no user where one is required',
    comes: 'rejects',
    says: /user name is empty/,
    make: async () => etcd((await guarded()).url),
  },
  {
    what: 'a wrong password',
    comes: 'rejects',
    says: /authentication failed/,
    always: true,
    make: async () => etcd((await guarded()).url, { username: 'root', password: 'wrong' }),
  },
  {
    what: 'a user without rights on the keys',
    comes: 'rejects',
    says: /permission denied/,
    make: async () => etcd((await guarded()).url, { username: 'some', password: 'secret' }),
  },
];

/** A server on which `postgres` needs no password over 127.0.0.1, and what it is to be like. */
async function server(prepare: (made: PostgresServer) => unknown): Promise<PostgresServer> {
  const made = await PostgresServer.start();
  await prepare(made);
  return made;
}

function wantPassword(made: PostgresServer): void {
  made.psql(`ALTER ROLE postgres PASSWORD 'secret'`);
  made.admit('host all all 127.0.0.1/32 scram-sha-256');
}

const ofPostgres: Row[] = [
  {
    what: 'no server at the address',
    comes: 'waits',
    says: /ECONNREFUSED/,
    always: true,
    make: async () => postgres(`postgresql://postgres@127.0.0.1:${await freePort()}/postgres`),
  },
  {
    what: 'a server that takes connections and does not answer',
    comes: 'waits',
    says: /timeout/,
    make: async () => {
      const made = await PostgresServer.start();
      const proxy = await TcpProxy.to(made.port);
      proxy.swallow();
      return postgres(made.url.replace(String(made.port), String(proxy.port)));
    },
  },
  {
    what: 'no connection left (`max_connections`, or of the role)',
    comes: 'waits',
    says: /too many connections/,
    make: async () => {
      const made = await server((one) => one.psql('CREATE ROLE few LOGIN CONNECTION LIMIT 0'));
      return postgres(made.url.replace('postgres@', 'few@'));
    },
  },
  {
    what: 'the name of the host is not known',
    comes: 'rejects',
    says: /ENOTFOUND|EAI_AGAIN/,
    make: async () => postgres('postgresql://postgres@nowhere.invalid/postgres'),
  },
  {
    what: 'TLS is asked for, and the server has none',
    comes: 'rejects',
    says: /does not support SSL/,
    make: async () => postgres(`${(await PostgresServer.start()).url}?sslmode=require`),
  },
  {
    what: 'a certificate of an authority that is not known',
    comes: 'rejects',
    says: /certificate/,
    always: true,
    make: async () => {
      const made = await server((one) => one.secure());
      return new PostgresLocks({ config: { connectionString: made.url, ssl: true } });
    },
  },
  {
    what: 'a password is required, and none is given',
    comes: 'rejects',
    says: /password must be a string/,
    make: async () => {
      const made = await server(wantPassword);
      return postgres(made.url);
    },
  },
  {
    what: 'a wrong password',
    comes: 'rejects',
    says: /password authentication failed/,
    make: async () => {
      const made = await server(wantPassword);
      return postgres(made.url.replace('postgres@', 'postgres:wrong@'));
    },
  },
  {
    what: 'no such database',
    comes: 'rejects',
    says: /does not exist/,
    make: async () => postgres((await PostgresServer.start()).url.replace(/\/postgres$/, '/nothing')),
  },
  {
    what: 'the role has no right on the tokens',
    comes: 'rejects',
    says: /permission denied/,
    make: async () => {
      const made = await server(async (one) => {
        await (await postgres(one.url).lock('x').acquire()).release();
        one.psql('CREATE ROLE another LOGIN; REVOKE ALL ON SEQUENCE fairlock.token FROM PUBLIC');
      });
      return postgres(made.url.replace('postgres@', 'another@'));
    },
  },
  {
    what: 'the server is read-only',
    comes: 'rejects',
    says: /read-only/,
    make: async () => {
      const made = await server(async (one) => {
        await (await postgres(one.url).lock('x').acquire()).release();
        one.psql('ALTER DATABASE postgres SET default_transaction_read_only = on');
      });
      return postgres(made.url);
    },
  },
  {
    what: 'a standby',
    comes: 'rejects',
    says: /standby/,
    make: async () => postgres((await (await PostgresServer.start()).standby()).url),
  },
];

const ofPgBouncer: Row[] = [
  {
    what: 'a proxy in transaction pooling mode',
    comes: 'rejects',
    says: /transaction pooling/,
    always: true,
    make: async () => postgres(await startPgBouncer(await PostgresServer.start(), 'transaction')),
  },
  {
    what: 'a proxy with one connection to the server',
    comes: 'rejects',
    says: /one connection to the server/,
    make: async () => postgres(await startPgBouncer(await PostgresServer.start(), 'session', 1)),
  },
];

const redis = (url: string): RedisLocks => new RedisLocks({ url, ttl: 3000 });
const redisWith = async (...settings: string[]): Promise<RedisLocks> =>
  redis((await RedisServer.start(...settings)).url);

async function guardedRedis(): Promise<string> {
  const server = await RedisServer.start();
  server.ask('CONFIG', 'SET', 'requirepass', 'secret');
  return server.url;
}

const ofRedis: Row[] = [
  {
    what: 'no server at the address',
    comes: 'waits',
    says: /ECONNREFUSED/,
    always: true,
    make: async () => redis(`redis://127.0.0.1:${await freePort()}`),
  },
  {
    what: 'a server that takes connections and does not answer',
    comes: 'waits',
    says: /no answer within 2000 ms/,
    make: async () => {
      const proxy = await TcpProxy.to((await RedisServer.start()).port);
      proxy.swallow();
      return redis(`redis://127.0.0.1:${proxy.port}`);
    },
  },
  {
    what: 'a replica, or a primary that has become one',
    comes: 'waits',
    says: /READONLY the server is a slave/,
    make: async () => redisWith('--replicaof', '127.0.0.1', String((await RedisServer.start()).port)),
  },
  {
    what: 'out of memory (OOM)',
    comes: 'waits',
    says: /OOM/,
    make: async () => {
      const server = await RedisServer.start();
      const locks = redis(server.url);
      await (await locks.lock('first').acquire()).release();
      server.ask('CONFIG', 'SET', 'maxmemory', '1');
      return locks;
    },
  },
  {
    what: 'too few replicas (`min-replicas-to-write`)',
    comes: 'waits',
    says: /NOREPLICAS/,
    make: () => redisWith('--min-replicas-to-write', '1'),
  },
  {
    what: 'the name of the host is not known',
    comes: 'rejects',
    says: /ENOTFOUND|EAI_AGAIN/,
    make: async () => redis('redis://nowhere.invalid'),
  },
  {
    what: 'a password is required, and none is given',
    comes: 'rejects',
    says: /NOAUTH/,
    always: true,
    make: async () => redis(await guardedRedis()),
  },
  {
    what: 'a wrong password',
    comes: 'rejects',
    says: /WRONGPASS/,
    make: async () => redis((await guardedRedis()).replace('//', '//:wrong@')),
  },
  {
    what: 'a user without rights on the keys',
    comes: 'rejects',
    says: /NOPERM/,
    make: async () => {
      const server = await RedisServer.start();
      server.ask('ACL', 'SETUSER', 'some', 'on', '>secret', '~other*', '+@all', '&*');
      return redis(server.url.replace('//', '//some:secret@'));
    },
  },
  {
    what: 'an eviction policy (`maxmemory-policy`) that may evict locks',
    comes: 'rejects',
    says: /maxmemory-policy is allkeys-lru, .* set it to noeviction/,
    always: true,
    make: () => redisWith('--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'),
  },
  {
    what: 'a node of Redis Cluster, and a client of one server',
    comes: 'rejects',
    says: /give a client of the cluster/,
    make: async () => redisWith('--cluster-enabled', 'yes', '--cluster-port', String(await freePort())),
  },
  {
    what: 'a certificate of an authority that is not known',
    comes: 'rejects',
    says: /certificate/,
    make: async () => redis(await RedisServer.startWithTls()),
  },
];

/** What a request comes to: an error that it rejects with, or the first one that it is told of and goes on after. */
async function metBy(lock: EngineLock): Promise<{ comes: Row['comes']; error: Error }> {
  const controller = new AbortController();
  const outage = new Promise<Error>((resolve) => {
    const seen = (message: unknown): void => {
      const { name, error } = message as { name: string; error: Error };
      if (name !== lock.name) return;
      unsubscribe('fairlock:outage', seen);
      resolve(error);
    };
    subscribe('fairlock:outage', seen);
  });
  const refused = lock.acquire({ signal: controller.signal }).then(
    () => new Error('it was granted'),
    (error: Error) => error,
  );
  const met = await Promise.race([
    outage.then((error) => ({ comes: 'waits' as const, error })),
    refused.then((error) => ({ comes: 'rejects' as const, error })),
  ]);
  controller.abort();
  await refused;
  return met;
}

const tables: [string, boolean, Row[]][] = [
  ['etcd', hasEtcd, ofEtcd],
  ['etcd with users (etcdctl)', hasEtcd && hasEtcdctl, ofEtcdWithUsers],
  ['PostgreSQL', hasPostgres, ofPostgres],
  ['Redis', hasRedis, ofRedis],
  ['PgBouncer', hasPostgres && hasPgBouncer, ofPgBouncer],
];

describe.each(tables)('%s', (_name, isThere, rows) => {
  it.runIf(isThere).each(rows.filter(({ always }) => always || isSoak))(
    '$what: $comes',
    async ({ make, comes, says }) => {
      const locks = await make();
      open.push(locks);
      const lock = locks.lock('job');
      const met = await metBy(lock);
      expect(met).toMatchObject({ comes, error: { message: expect.stringMatching(says) } });
      expect(['ERR_LOCK_ENGINE', 'ERR_LOCK_UNSUPPORTED']).toContain(codeOf(met.error));
      if (comes === 'waits') return;
      await expect(lock.tryAcquire()).rejects.toMatchObject({ message: expect.stringMatching(says) });
    },
  );
});

it('docs/engines.md has these rows, and no others', () => {
  const text = readFileSync(join(root, 'docs/engines.md'), 'utf8');
  const section = text.slice(text.indexOf('## What goes wrong'));
  const rows = [
    ...section.slice(0, section.indexOf('\n## ', 5)).matchAll(/^\| (.+?) +\| (.+?) +\| (waits|rejects) +\|/gm),
  ].map(([, service, what, comes]) => `${service}: ${what}: ${comes}`);
  const name = (table: string): string => table.replace(/ with users.*/, '');
  const tested = tables.flatMap(([table, , all]) => all.map(({ what, comes }) => `${name(table)}: ${what}: ${comes}`));
  expect(rows.sort()).toEqual(tested.sort());
});

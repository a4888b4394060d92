import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasNamespaces } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { LineProgram, run } from '../support/programs.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak, some } from '../support/scale.js';
import { EtcdServer, freePort, hasEtcd, hasEtcdctl, hasPostgres, PostgresServer } from '../support/servers.js';

const { path } = testFolder();
const fairlock = (...args: string[]) => run(process.execPath, [CLI, ...args]);

/** A program of which the lines on stderr are read too. */
function speaking(command: string, args: string[]): LineProgram {
  return new LineProgram('sh', ['-c', 'exec "$@" 2>&1', 'sh', command, ...args]);
}

const engines = [
  ['etcd', hasEtcd, () => EtcdServer.start()],
  ['postgres', hasPostgres, () => PostgresServer.start()],
  ['redis', hasRedis, () => RedisServer.start()],
] as const;

describe.each(some(engines))('fairlock run --%s', (name, isThere, start) => {
  describe.runIf(isThere)('on a server', () => {
    let url: string;
    beforeAll(async () => {
      ({ url } = await start());
    });

    it('runs the command with the lock, and ends with its exit code', async () => {
      const { code, stdout } = await fairlock('run', `--${name}`, url, 'job', '--', 'sh', '-c', 'echo ran; exit 7');
      expect([code, stdout]).toEqual([7, 'ran\n']);
    });

    it('of two at once one runs; -n ends with the conflict exit code', async () => {
      const holder = new LineProgram(process.execPath, [
        CLI,
        'run',
        `--${name}`,
        url,
        'once',
        '--',
        'sh',
        '-c',
        'echo in; read x',
      ]);
      expect(await holder.line()).toBe('in');
      const { code } = await fairlock('run', '-n', '-E', '3', `--${name}`, url, 'once', '--', 'true');
      expect(code).toBe(3);
      const waiter = speaking(process.execPath, [CLI, 'run', '-v', `--${name}`, url, 'once', '--', 'true']);
      expect(await waiter.line()).toContain(`waiting for once — held by pid ${holder.child.pid} on ${hostname()}`);
      holder.child.stdin?.end();
      expect((await fairlock('run', `--${name}`, url, 'once', '--', 'true')).code).toBe(0);
    });

    it.runIf(hasNamespaces)('as process 1 it ends by TERM while it waits', async () => {
      const run = [CLI, 'run', `--${name}`, url, 'one', '--', 'sh', '-c', 'echo in; read x'];
      const holder = new LineProgram(process.execPath, run);
      expect(await holder.line()).toBe('in');
      const isolated = ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath];
      const waiter = speaking('unshare', [...isolated, CLI, 'run', '-v', ...run.slice(2)]);
      expect(await waiter.line()).toContain('waiting for one');
      const outer = waiter.child.pid;
      const child = readFileSync(`/proc/${outer}/task/${outer}/children`, 'utf8').trim();
      process.kill(Number(child), 'SIGTERM');
      expect(await once(waiter.child, 'exit')).toEqual([143, null]);
    });
  });

  it('an outage is not another holder: 71, and it says why', async () => {
    const port = await freePort();
    const nowhere = {
      etcd: `http://127.0.0.1:${port}`,
      postgres: `postgres://postgres@127.0.0.1:${port}/postgres`,
      redis: `redis://127.0.0.1:${port}`,
    }[name];
    for (const how of [['-w', '0.3'], ['-n']]) {
      const { code, stderr } = await fairlock('run', ...how, `--${name}`, nowhere, 'job', '--', 'true');
      expect([code, stderr]).toEqual([71, expect.stringContaining('ECONNREFUSED')]);
    }
    const waiter = speaking(process.execPath, [CLI, 'run', '-v', `--${name}`, nowhere, 'job', '--', 'true']);
    expect(await waiter.line()).toMatch(/waiting for job — .*ECONNREFUSED/);
  });

  it('refuses options that are for files', async () => {
    const { code, stderr } = await fairlock('run', '--fair', `--${name}`, 'x', 'job', '--', 'true');
    expect([code, stderr]).toEqual([64, expect.stringContaining('are for files, not for --etcd')]);
  });
});

describe('credentials, from the environment', () => {
  it.runIf(hasEtcd && hasEtcdctl)("etcd: etcdctl's variables", async () => {
    const { url, ca } = await EtcdServer.startWithTls();
    const file = path('ca.pem');
    writeFileSync(file, ca);
    const withEnvironment = (env: NodeJS.ProcessEnv) =>
      run(process.execPath, [CLI, 'run', '-n', '--etcd', url, 'job', '--', 'echo', 'ran'], env);
    expect((await withEnvironment({ ETCDCTL_CACERT: file })).stdout).toBe('ran\n');
    expect(await withEnvironment({ ETCDCTL_CACERT: path('none') })).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('none: no such file'),
    });
    const guarded = await EtcdServer.start();
    guarded.ctl('user', 'add', 'root:se:cret');
    guarded.ctl('user', 'grant-role', 'root', 'root');
    guarded.ctl('auth', 'enable');
    for (const env of [{ ETCDCTL_USER: 'root:se:cret' }, { ETCDCTL_USER: 'root', ETCDCTL_PASSWORD: 'se:cret' }]) {
      const args = [CLI, 'run', '-n', '--etcd', guarded.url, 'job', '--', 'echo', 'ran'];
      expect((await run(process.execPath, args, env)).stdout).toBe('ran\n');
    }
  });

  it.runIf(hasPostgres)("PostgreSQL: libpq's variables", async () => {
    const server = await PostgresServer.start();
    const file = path('ca.pem');
    writeFileSync(file, await server.secure());
    server.psql(`ALTER ROLE postgres PASSWORD 'secret'`);
    server.admit('hostssl all all 127.0.0.1/32 scram-sha-256');
    const env = { PGHOST: '127.0.0.1', PGPORT: String(server.port), PGUSER: 'postgres', PGDATABASE: 'postgres' };
    const args = [CLI, 'run', '-n', '--postgres', 'postgres://', 'job', '--', 'echo', 'ran'];
    const withSecrets = { ...env, PGPASSWORD: 'secret', PGSSLROOTCERT: file };
    expect((await run(process.execPath, args, withSecrets)).stdout).toBe('ran\n');
    expect((await run(process.execPath, args, { ...env, PGSSLROOTCERT: file })).code).toBe(71);
    expect((await run(process.execPath, args, { ...env, PGPASSWORD: 'secret' })).code).toBe(71);
  });
});

describe('fairlock postgres-schema', () => {
  it.runIf(hasPostgres && isSoak)('prints SQL that can be run twice', async () => {
    const { stdout } = await fairlock('postgres-schema', '--schema', 'its own');
    const server = await PostgresServer.start();
    const { default: pg } = await import('pg');
    const client = new pg.Client(server.url);
    await client.connect();
    await client.query(stdout);
    await client.query(stdout);
    const { rows } = await client.query(`SELECT nextval('"its own".token') > 1700000000000 AS big`);
    expect(rows).toEqual([{ big: true }]);
    await client.end();
  });
});

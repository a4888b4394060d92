import { beforeAll, describe, expect, it } from 'vitest';
import { CLI } from '../support/paths.js';
import { LineProgram, run } from '../support/programs.js';
import { isSoak, some } from '../support/scale.js';
import { EtcdServer, hasEtcd, hasPostgres, PostgresServer } from '../support/servers.js';

const fairlock = (...args: string[]) => run(process.execPath, [CLI, ...args]);

const engines = [
  ['etcd', hasEtcd, () => EtcdServer.start()],
  ['postgres', hasPostgres, () => PostgresServer.start()],
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
      holder.child.stdin?.end();
      expect((await fairlock('run', `--${name}`, url, 'once', '--', 'true')).code).toBe(0);
    });
  });

  it('refuses options that are for files', async () => {
    const { code, stderr } = await fairlock('run', '--fair', `--${name}`, 'x', 'job', '--', 'true');
    expect([code, stderr]).toEqual([64, expect.stringContaining('not for --etcd and --postgres')]);
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

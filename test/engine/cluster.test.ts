/** Elections, once-only work and layers on the locks of engines. */
import { beforeAll, describe, expect, it } from 'vitest';
import { LeaderElection, runOnce } from '../../src/cluster/index.js';
import { layered } from '../../src/engine/index.js';
import { EtcdLocks } from '../../src/etcd/index.js';
import { InterProcessLock, type Lock } from '../../src/index.js';
import { PostgresLocks } from '../../src/postgres/index.js';
import { RedisLocks } from '../../src/redis/index.js';
import { testFolder } from '../support/paths.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { some } from '../support/scale.js';
import { EtcdServer, hasEtcd, hasPostgres, PostgresServer } from '../support/servers.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();

const engines = [
  ['etcd', hasEtcd, async () => new EtcdLocks({ endpoints: (await EtcdServer.start()).url })],
  [
    'PostgreSQL',
    hasPostgres,
    async () => new PostgresLocks({ connectionString: (await PostgresServer.start()).url, lossAfter: 5000 }),
  ],
  ['Redis', hasRedis, async () => new RedisLocks({ url: (await RedisServer.start()).url, ttl: 3000 })],
] as const;

describe.each(some(engines))('on %s', (_name, isThere, start) => {
  describe.runIf(isThere)('cluster', () => {
    let locks: EtcdLocks | PostgresLocks | RedisLocks;
    beforeAll(async () => {
      locks = await start();
      return () => locks.close();
    });
    const lock = (name: string): Lock => locks.lock(name);

    it('one candidate leads at a time, with growing tokens', async () => {
      const candidates = [1, 2, 3].map(() => new LeaderElection(lock('leader')));
      const tokens: number[] = [];
      let leaders = 0;
      await Promise.all(
        candidates.map((candidate) =>
          candidate.run(async ({ token }) => {
            leaders++;
            expect(leaders).toBe(1);
            tokens.push(token);
            expect(await candidate.currentLeader()).toMatchObject({ pid: process.pid });
            leaders--;
          }),
        ),
      );
      expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
      expect(new Set(tokens).size).toBe(3);
      expect(() => candidates[0]?.leader()).toThrow('currentLeader');
    });

    it('runOnce runs once per key, and gives the outcome to all', async () => {
      let runs = 0;
      const migrate = async (): Promise<{ run: number }> => ({ run: ++runs });
      const outcomes = await Promise.all([1, 2, 3].map(() => runOnce(lock('migrate'), migrate, { key: '1' })));
      expect([outcomes, runs]).toEqual([[{ run: 1 }, { run: 1 }, { run: 1 }], 1]);
      const fail = (): never => {
        throw Object.assign(new Error('no'), { code: 'E_NO' });
      };
      await expect(runOnce(lock('migrate'), fail, { key: '2' })).rejects.toMatchObject({ message: 'no', code: 'E_NO' });
      expect(await runOnce(lock('migrate'), migrate, { key: '2' })).toEqual({ run: 2 });
    });

    it('layered takes the file lock first, and releases both', async () => {
      const file = new InterProcessLock(path());
      const both = layered(file, lock('customer'));
      const handle = await both.acquire();
      expect([file.held, both.held]).toEqual([true, true]);
      expect(await layered(new InterProcessLock(path()), lock('customer')).tryAcquire()).toBeNull();
      const waiting = both.acquire();
      await handle.release();
      await (await waiting).release();
      await until(() => !file.held);
      expect(await both.withLock((inner) => (inner as unknown as { token: number }).token)).toBeGreaterThan(0);
      await expect(both.acquire({ timeout: -1 })).rejects.toThrow(RangeError);
    });
  });
});

it('runOnce and LeaderElection take a file lock too', async () => {
  const lock = new InterProcessLock(path());
  expect(await runOnce(lock, () => 'done', { key: 'x' })).toBe('done');
  expect(await new LeaderElection(lock).run(({ token }) => token)).toBeGreaterThan(0);
});

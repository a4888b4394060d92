/** Redis Cluster: a lock's keys are in one slot, and its primary may change. The suite of engines is in suite.test.ts. */
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RedisClient } from '../../src/redis/index.js';
import { RedisLocks } from '../../src/redis/index.js';
import { atFileEnd } from '../support/ends.js';
import { program, run } from '../support/programs.js';
import { expectTakeover } from '../support/redis-failover.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';
import { until } from '../support/waiting.js';

const TTL = 3000;

const CLIENTS: Record<string, (nodes: readonly RedisServer[]) => RedisClient> = {
  'node-redis': (nodes) => createCluster({ rootNodes: nodes.map(({ url }) => ({ url })) }),
  ioredis: (nodes) =>
    new Cluster(
      nodes.map(({ url }) => url),
      { lazyConnect: true },
    ),
};

/** The primary that has the lock's keys. */
function primaryOf(name: string, nodes: readonly RedisServer[]): RedisServer {
  const has = nodes.find((node) => /^\d+$/.test(node.ask('ZCARD', `{fairlock/${name}}:queue`)));
  if (has === undefined) throw new Error(`no node has ${name}`);
  return has;
}

function open(client: RedisClient): RedisLocks {
  const locks = new RedisLocks({ client, ttl: TTL, callTimeout: 1000 });
  atFileEnd(() => locks.close());
  return locks;
}

describe.runIf(hasRedis).each(Object.keys(CLIENTS))('RedisLocks on a cluster, by %s', (kind) => {
  const client = CLIENTS[kind] as (nodes: readonly RedisServer[]) => RedisClient;
  let nodes: RedisServer[];
  beforeAll(async () => {
    nodes = await RedisServer.startCluster({ primaries: 3, replicas: 0 });
  });

  it('locks on all its primaries, one queue for each', async () => {
    const [one, other] = [open(client(nodes)), open(client(nodes))];
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    expect(new Set(names.map((name) => primaryOf(name, nodes).port)).size).toBe(3);
    const handles = await Promise.all(names.map((name) => one.lock(name).acquire()));
    const waits = names.map((name) => other.lock(name).acquire());
    for (const name of names) await until(async () => (await one.inspect(name)).waiters.length === 1);
    for (const [i, handle] of handles.entries()) {
      await handle.release();
      const next = await waits[i];
      expect(next?.token).toBeGreaterThan(handle.token);
      await next?.release();
    }
  });

  it('a policy that may evict locks rejects', async () => {
    for (const node of nodes) node.ask('CONFIG', 'SET', 'maxmemory', '100mb');
    for (const node of nodes) node.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    await expect(open(client(nodes)).lock('evicted').acquire()).rejects.toThrow(/allkeys-lru, which may evict locks/);
    for (const node of nodes) node.ask('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  });

  it('replicas cannot be asked for', async () => {
    const locks = new RedisLocks({ client: client(nodes), replicas: 1 });
    atFileEnd(() => locks.close());
    await expect(locks.lock('x').acquire()).rejects.toThrow(/replicas: no client of a cluster/);
  });

  it('its connections keep no process alive', async () => {
    const args = [program('redis-cluster-once.mjs'), kind, ...nodes.map(({ url }) => url)];
    expect(await run(process.execPath, args)).toMatchObject({ code: 0, stdout: 'locked\n' });
  });

  it.runIf(isSoak).each(['killed', 'stopped'] as const)(
    'a primary that is %s: the holder is told, then the next one holds on its replica, with a greater token',
    async (how) => {
      const own = await RedisServer.startCluster({ primaries: 3, replicas: 1 });
      const primary = async (): Promise<RedisServer> => {
        const one = primaryOf('x', own.slice(0, 3));
        await until(() => one.ask('WAIT', '1', '100') === '1'); // The replica has it all.
        return one;
      };
      await expectTakeover(open(client(own)), open(client(own)), primary, how);
    },
  );
});

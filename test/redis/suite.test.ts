/** What every engine must show, on a real Redis, with each client. */
import { Cluster, Redis } from 'ioredis';
import { createClient, createCluster } from 'redis';
import { createClient as createClient4, createCluster as createCluster4 } from 'redis-4';
import { beforeAll, describe } from 'vitest';
import { RedisLocks } from '../../src/redis/index.js';
import { engineTests } from '../suites/engine.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';

/** A server that has just begun grants nothing for so long. */
const TTL = 3000;

describe.runIf(hasRedis)('RedisLocks', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });

  describe('by its URL', () => engineTests(() => new RedisLocks({ url: server.url, ttl: TTL })));
  describe('by a client of node-redis', () =>
    engineTests(() => new RedisLocks({ client: createClient({ url: server.url }), ttl: TTL })));
  describe.runIf(isSoak)('by a client of node-redis 4', () =>
    engineTests(() => new RedisLocks({ client: createClient4({ url: server.url }), ttl: TTL })),
  );
  describe('by a client of ioredis', () =>
    engineTests(() => new RedisLocks({ client: new Redis(server.url, { lazyConnect: true }), ttl: TTL })));
});

describe.runIf(hasRedis)('RedisLocks on a cluster', () => {
  let nodes: RedisServer[];
  beforeAll(async () => {
    nodes = await RedisServer.startCluster({ primaries: 3, replicas: 0 });
  });

  describe('by a client of node-redis', () =>
    engineTests(() => {
      const client = createCluster({ rootNodes: nodes.map(({ url }) => ({ url })) });
      return new RedisLocks({ client, ttl: TTL });
    }));
  describe.runIf(isSoak)('by a client of node-redis 4', () =>
    engineTests(() => {
      const client = createCluster4({ rootNodes: nodes.map(({ url }) => ({ url })) });
      return new RedisLocks({ client, ttl: TTL });
    }),
  );
  describe('by a client of ioredis', () =>
    engineTests(() => {
      const client = new Cluster(
        nodes.map(({ url }) => url),
        { lazyConnect: true },
      );
      return new RedisLocks({ client, ttl: TTL });
    }));
});

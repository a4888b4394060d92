// Locks once on a cluster, closes nothing, and is to end by itself: CLIENT URL…
import { RedisLocks } from 'fairlock/redis';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';

const [kind, ...urls] = process.argv.slice(2);
const client =
  kind === 'ioredis'
    ? new Cluster(urls, { lazyConnect: true })
    : createCluster({ rootNodes: urls.map((url) => ({ url })) });
const locks = new RedisLocks({ client, ttl: 3000 });
await (await locks.lock('once').acquire()).release();
console.log('locked');

// With redlock, or with fairlock on the same key: a counter in Redis is read, and written one greater, so many times.
//   node redlock-counter.mjs redlock|fairlock PORT RESOURCE TIMES FOLDER (which has redlock and ioredis installed)
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Redis } from 'ioredis';

const [kind, port, resource, times, folder] = process.argv.slice(2);
const client = new Redis({ port: Number(port), host: '127.0.0.1' });

async function withRedlock(fn) {
  const { default: Redlock } = createRequire(join(folder, 'index.js'))('redlock');
  const locks = new Redlock([client], { retryCount: -1, retryDelay: 5, retryJitter: 5 });
  locks.on('error', () => {}); // It tells of each try that was not granted.
  for (let i = 0; i < Number(times); i++) {
    const lock = await locks.acquire([resource], 10_000);
    await fn();
    await lock.release();
  }
}

async function withFairlock(fn) {
  const { RedisLocks } = await import('fairlock/redis');
  const locks = new RedisLocks({ client, prefix: '', ttl: 3000 });
  for (let i = 0; i < Number(times); i++) await locks.lock(resource).withLock(fn);
  await locks.close();
}

await (kind === 'redlock' ? withRedlock : withFairlock)(async () => {
  const count = Number(await client.get('counter'));
  await client.set('counter', String(count + 1));
});
client.disconnect();

/** A lock of Redis whose primary goes away while one process holds it and another waits. */
import { expect } from 'vitest';
import type { RedisLocks } from '../../src/redis/index.js';
import type { RedisServer } from './redis-server.js';
import { until } from './waiting.js';

/** The holder is told, then the other one holds on the new primary, with a greater token. */
export async function expectTakeover(
  holder: RedisLocks,
  waiter: RedisLocks,
  primary: () => RedisServer | Promise<RedisServer>,
  how: 'killed' | 'stopped',
): Promise<void> {
  const handle = await holder.lock('x').acquire();
  const order: string[] = [];
  handle.signal.addEventListener('abort', () => order.push('lost'));
  const waiting = waiter.lock('x').acquire();
  await until(async () => (await holder.inspect('x')).waiters.length === 1);
  const server = await primary();
  if (how === 'killed') await server.kill();
  else server.stop();
  const next = await waiting;
  order.push('granted');
  expect(order).toEqual(['lost', 'granted']);
  expect(next.token).toBeGreaterThan(handle.token);
  await next.verify();
  await next.release();
}

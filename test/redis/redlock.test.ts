/** Beside redlock: programs of both on one key, as while a service is moved over; and what its users complain of. */
import { beforeAll, describe, expect, it } from 'vitest';
import { LockLostError } from '../../src/index.js';
import { RedisLocks } from '../../src/redis/index.js';
import { atFileEnd } from '../support/ends.js';
import { fetchInto } from '../support/package.js';
import { testFolder } from '../support/paths.js';
import { program, run } from '../support/programs.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';
import { until } from '../support/waiting.js';

const TTL = 3000;
const { path } = testFolder();

describe.runIf(hasRedis)('redlock', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
    await (await open().lock('first').acquire()).release();
  });

  function open(options: object = {}): RedisLocks {
    const locks = new RedisLocks({ url: server.url, ttl: TTL, ...options });
    atFileEnd(() => locks.close());
    return locks;
  }

  // redlock is not installed with this project: the soak gets it from the registry.
  it.runIf(isSoak)('programs of redlock and of fairlock on one key: no increment is lost', async () => {
    const folder = path();
    fetchInto(folder, 'redlock@5.0.0-beta.2');
    const times = 50;
    const kinds = ['redlock', 'fairlock', 'redlock', 'fairlock'];
    const args = [String(server.port), 'resource', String(times), folder];
    const ended = await Promise.all(
      kinds.map((kind) => run(process.execPath, [program('redlock-counter.mjs'), kind, ...args])),
    );
    expect(ended.map(({ code, stderr }) => [code, stderr])).toEqual(kinds.map(() => [0, '']));
    expect(server.ask('GET', 'counter')).toBe(String(kinds.length * times));
  });

  it('#288, #43, #19: "another process holds it" is null, or a timeout that names the holder; an outage is an error', async () => {
    const handle = await open().lock('x').acquire();
    expect(await open().lock('x').tryAcquire()).toBeNull();
    await expect(open().lock('x').acquire({ timeout: 20 })).rejects.toMatchObject({
      code: 'ERR_LOCK_TIMEOUT',
      holders: [{ pid: process.pid }],
    });
    await handle.release();
    const nowhere = new RedisLocks({ url: 'redis://127.0.0.1:1', callTimeout: 200 });
    await expect(nowhere.lock('x').tryAcquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    await nowhere.close();
  });

  it('#283: a renewal that comes too late ends the hold by its signal, not the process', async () => {
    const own = await RedisServer.start();
    const locks = new RedisLocks({ url: own.url, ttl: TTL, callTimeout: 300 });
    atFileEnd(() => locks.close());
    const work = locks.lock('x').withLock(async ({ signal }) => {
      own.stop();
      await until(() => signal.aborted);
      expect(signal.reason).toBeInstanceOf(LockLostError);
      own.goOn();
      return 'ended by itself';
    });
    expect(await work).toBe('ended by itself');
  });

  it('#309: after a loss nothing waits for the release, and the error of the work is the one that is told', async () => {
    const lock = open().lock('y');
    const work = lock.withLock(async ({ signal }) => {
      server.ask('DEL', 'fairlock/y');
      await until(() => signal.aborted);
      throw new Error('of the work');
    });
    await expect(work).rejects.toThrow('of the work');
  });

  it('#169, #168: work that takes longer than ttl holds on, and waits are served in their order', async () => {
    const served: number[] = [];
    const queued = async (): Promise<number> => Number(await server.askBeside('ZCARD', '{fairlock/z}:queue'));
    await open()
      .lock('z')
      .withLock(async (handle) => {
        const waits = [1, 2, 3].map(async (n) => {
          await until(async () => n === 1 || (await queued()) === n); // With the holder.
          const next = await open().lock('z').acquire();
          served.push(n);
          await next.release();
        });
        const livesUntil = async (): Promise<number> => {
          const first = await server.askBeside('ZRANGE', '{fairlock/z}:alive', '0', '0', 'WITHSCORES');
          return Number(first.split('\n')[1] ?? 0);
        };
        const atFirst = await until(livesUntil);
        await until(async () => (await livesUntil()) > atFirst + TTL);
        await until(async () => (await queued()) === 4); // A waiter that comes after the release finds another queue than it waits for.
        handle.check();
        waits.forEach((one) => void one.catch(() => {}));
      });
    await until(() => served.length === 3);
    expect(served).toEqual([1, 2, 3]);
  });
});

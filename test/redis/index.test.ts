/** What goes wrong with Redis, and beside it: real servers, killed, stopped, emptied; other programs' locks. */
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { LockEngineError, LockLostError } from '../../src/index.js';
import { RedisLocks } from '../../src/redis/index.js';
import { atFileEnd } from '../support/ends.js';
import { LineProgram, program } from '../support/programs.js';
import { expectTakeover } from '../support/redis-failover.js';
import { hasRedis, RedisServer } from '../support/redis-server.js';
import { isSoak } from '../support/scale.js';
import { until } from '../support/waiting.js';

const TTL = 3000;
let names = 0;
const aName = (): string => `lock ${++names}`;

describe.runIf(hasRedis)('RedisLocks', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
    // It has just begun: nothing is granted for a time to live.
    await (await open(server).lock('first').acquire()).release();
  });

  function open({ url }: RedisServer, options: object = {}): RedisLocks {
    const locks = new RedisLocks({ url, ttl: TTL, ...options });
    atFileEnd(() => locks.close());
    return locks;
  }

  it('a holder that is killed loses it by the end of its time to live', async () => {
    const name = aName();
    const holder = new LineProgram(process.execPath, [program('redis-holder.mjs'), server.url, name, String(TTL)]);
    const token = Number((await holder.line())?.split(' ')[1]);
    const waiting = open(server).lock(name).acquire();
    holder.child.kill('SIGKILL');
    const handle = await waiting;
    expect(handle.token).toBeGreaterThan(token);
    await handle.release();
  });

  it('a server that comes back empty tells the holder first, and then grants', async () => {
    const own = await RedisServer.start();
    const name = aName();
    const handle = await open(own).lock(name).acquire();
    const order: string[] = [];
    handle.signal.addEventListener('abort', () => order.push('lost'));
    await own.kill();
    await own.run();
    const next = await open(own).lock(name).acquire();
    order.push('granted');
    expect(order).toEqual(['lost', 'granted']);
    expect(handle.signal.reason).toBeInstanceOf(LockLostError);
    expect(next.token).toBeGreaterThan(handle.token);
    await Promise.all([handle.release(), next.release()]);
  });

  it('a server that hangs: the signal is aborted, and waits go on when it serves again', async () => {
    const own = await RedisServer.start();
    const name = aName();
    const handle = await open(own, { callTimeout: 500 }).lock(name).acquire();
    const waiting = open(own, { callTimeout: 500 }).lock(name).acquire();
    own.stop();
    await until(() => handle.signal.aborted);
    expect(() => handle.check()).toThrow(LockLostError);
    own.goOn();
    const next = await waiting;
    expect(next.token).toBeGreaterThan(handle.token);
    await Promise.all([handle.release(), next.release()]);
  });

  it('connections that are killed are made again, while one holds and one waits', async () => {
    const name = aName();
    const handle = await open(server).lock(name).acquire();
    const waiting = open(server).lock(name).acquire();
    await until(async () => (await server.askBeside('ZCARD', `{fairlock/${name}}:queue`)) === '2');
    server.ask('CLIENT', 'KILL', 'TYPE', 'normal');
    server.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(() =>
      handle.verify().then(
        () => true,
        () => false,
      ),
    );
    await handle.release();
    await (await waiting).release();
    expect(handle.signal.aborted).toBe(false);
  });

  it('scripts that the server has forgotten are sent again', async () => {
    const lock = open(server).lock(aName());
    await (await lock.acquire()).release();
    server.ask('SCRIPT', 'FLUSH');
    await (await lock.acquire()).release();
  });

  it('a lock that was deleted is lost, and tokens grow all the same', async () => {
    const own = await RedisServer.start();
    const handle = await open(own).lock('x').acquire();
    own.ask('FLUSHALL');
    await expect(handle.verify()).rejects.toBeInstanceOf(LockLostError);
    const next = await open(own).lock('x').acquire();
    expect(next.token).toBeGreaterThan(handle.token);
    await next.release();
  });

  it('a free lock needs no queue, and its holder is at its head as soon as there is another request', async () => {
    const locks = open(server);
    const name = aName();
    const queue = `{fairlock/${name}}:queue`;
    const handle = await locks.lock(name).acquire();
    const waiters = async (): Promise<number> => (await locks.inspect(name)).waiters.length;
    expect(server.ask('EXISTS', queue)).toBe('0');
    expect(await locks.inspect(name)).toMatchObject({ holders: [{ pid: process.pid, shared: false }], waiters: [] });
    const first = open(server).lock(name).acquire();
    await until(async () => (await waiters()) === 1);
    const reader = open(server).readerWriterLock(name).acquireRead();
    await until(async () => (await waiters()) === 2);
    expect(server.ask('ZCARD', queue)).toBe('3');
    await handle.verify();
    await handle.release();
    const next = await first;
    expect(next.token).toBeGreaterThan(handle.token);
    expect(await waiters()).toBe(1);
    await next.release();
    await (await reader).release();
    expect(server.ask('EXISTS', queue)).toBe('0');
  });

  it('a release wakes one waiter, however many there are', async () => {
    const name = aName();
    const handle = await open(server).lock(name).acquire();
    const waiting = Array.from({ length: 10 }, () => open(server).lock(name).acquire());
    await until(async () => (await server.askBeside('ZCARD', `{fairlock/${name}}:queue`)) === '11');
    const published = (): number =>
      Number(/cmdstat_publish:calls=(\d+)/.exec(server.ask('INFO', 'commandstats'))?.[1] ?? 0);
    const before = published();
    await handle.release();
    const first = await Promise.race(waiting);
    expect(published() - before).toBe(1);
    await first.release();
    await Promise.all(waiting.map(async (one) => (await one).release()));
  });

  it('excludes, and is excluded by, a program that locks by SET NX PX as redlock does', async () => {
    const locks = open(server, { prefix: '' });
    const resource = `resource-${aName()}`;
    expect(server.ask('SET', resource, 'theirs', 'NX', 'PX', '60000')).toBe('OK');
    expect(await locks.lock(resource).tryAcquire()).toBeNull();
    const waiting = locks.lock(resource).acquire();
    await until(async () => (await server.askBeside('ZCARD', `{${resource}}:queue`)) === '1');
    server.ask('DEL', resource);
    const handle = await waiting;
    expect(server.ask('SET', resource, 'theirs', 'NX', 'PX', '60000')).toBe('');
    expect(Number(server.ask('PTTL', resource))).toBeLessThanOrEqual(TTL);
    await handle.release();
    expect(server.ask('SET', resource, 'theirs', 'NX', 'PX', '60000')).toBe('OK');
  });

  it('leaves nothing of a lock but its token', async () => {
    const name = aName();
    await (await open(server).lock(name).acquire()).release();
    expect(server.ask('KEYS', `*${name}*`)).toBe(`{fairlock/${name}}:token`);
    expect(Number(server.ask('TTL', `{fairlock/${name}}:token`))).toBeGreaterThan(0);
  });

  it('a server without memory grants nothing new, and keeps what is held', async () => {
    const own = await RedisServer.start();
    const locks = open(own);
    const handle = await locks.lock('held').acquire();
    own.ask('CONFIG', 'SET', 'maxmemory', '1');
    await expect(locks.lock('new').tryAcquire()).rejects.toThrow(/OOM/);
    const livesUntil = (): number => Number(own.ask('PEXPIRETIME', 'fairlock/held'));
    const before = livesUntil();
    await until(() => livesUntil() > before);
    own.ask('CONFIG', 'SET', 'maxmemory', '0');
    await (await locks.lock('new').acquire()).release();
    handle.check();
    await handle.release();
  });

  it('with replicas, a grant is told when they have it, and waits while they do not answer', async () => {
    const primary = await RedisServer.start('--repl-diskless-sync-delay', '0');
    const replica = await RedisServer.start('--replicaof', '127.0.0.1', String(primary.port));
    await until(() => primary.ask('WAIT', '1', '100') === '1');
    const [one, other] = [1, 2].map(() => open(primary, { replicas: 1, callTimeout: 400 })) as [RedisLocks, RedisLocks];
    const handle = await one.lock('x').acquire();
    expect(replica.ask('EXISTS', 'fairlock/x')).toBe('1');
    const waiting = other.lock('x').acquire();
    await until(async () => (await one.inspect('x')).waiters.length === 1);
    replica.stop();
    await handle.release();
    await expect(one.lock('y').tryAcquire()).rejects.toThrow(/NOREPLICAS 0 of 1/);
    expect(await one.inspect('y')).toEqual({ holders: [], waiters: [] });
    replica.goOn();
    const next = await waiting;
    expect(replica.ask('HGETALL', '{fairlock/x}:granted') + replica.ask('GET', 'fairlock/x')).toContain(
      String(next.token),
    );
    await next.release();
  });

  it.runIf(isSoak).each(['stopped', 'killed'] as const)(
    'behind Sentinel, a primary that is %s: the holder is told, then the next one holds, with a greater token',
    async (how) => {
      const primary = await RedisServer.start();
      await RedisServer.start('--replicaof', '127.0.0.1', String(primary.port));
      const sentinels = [{ host: '127.0.0.1', port: await RedisServer.startSentinel(primary) }];
      const client = new Redis({ sentinels, name: 'main', lazyConnect: true });
      const locks = (): RedisLocks => {
        const one = new RedisLocks({ client, ttl: TTL, callTimeout: 500 });
        atFileEnd(() => one.close());
        return one;
      };
      await expectTakeover(locks(), locks(), () => primary, how);
    },
  );

  it('a replica is not a primary: a try says so', async () => {
    const replica = await RedisServer.start('--replicaof', '127.0.0.1', String(server.port));
    await expect(open(replica).lock(aName()).tryAcquire()).rejects.toThrow(
      /READONLY the server is a slave, not a primary/,
    );
  });

  it('a password that is missing or wrong rejects at once', async () => {
    const own = await RedisServer.start();
    own.ask('CONFIG', 'SET', 'requirepass', 'secret');
    await expect(open(own).lock('x').acquire()).rejects.toBeInstanceOf(LockEngineError);
    const url = own.url.replace('redis://', 'redis://:wrong@');
    await expect(
      open({ url } as RedisServer)
        .lock('x')
        .acquire(),
    ).rejects.toThrow(/WRONGPASS/);
  });

  it.each([
    [{}],
    [{ url: 'redis://x', client: {} }],
    [{ client: {} }],
    [{ url: 'x', ttl: 1 }],
    [{ url: 'x', prefix: '{' }],
    [{ url: 'x', replicas: -1 }],
  ])('refuses %j', (options) => {
    expect(() => new RedisLocks(options as never)).toThrow(/url, client|expected/);
  });
});

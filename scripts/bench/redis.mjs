// fairlock/redis beside what Node programs lock with on Redis, on a server of its own, in one run:
//   npm install --no-save redlock@5.0.0-beta.2 redis-semaphore@5 && node scripts/bench/redis.mjs
// A free lock; one that 2 to 32 processes want, each at once again after a release; and the time without a holder after
// kill -9. "Overtaken": how many requests that were made after one were served before it, at most.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { RedisLocks } from '../../dist/redis/index.js';
import { runRedis } from '../chaos/servers.mjs';
import { folder, machine, median, now, table } from './support.mjs';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    contender: { type: 'string' },
    seconds: { type: 'string', default: '5' },
    processes: { type: 'string', default: '2,8,32' },
  },
});
const TTL = 5000;
const PEERS = { redlock: 'redlock', semaphore: 'redis-semaphore' }; // Not of this project.
const connect = () => new Redis({ port: Number(values.port), host: '127.0.0.1' });
const unlock = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])";

/** Each makes a function that acquires, and resolves to one that releases. */
const SUBJECTS = {
  'SET NX PX, by hand': async () => {
    const client = connect();
    client.defineCommand('unlock', { numberOfKeys: 1, lua: unlock });
    let count = 0;
    return async () => {
      const id = `${process.pid}-${++count}`;
      // As programs do it: again after some 50 ms.
      while ((await client.set('bare', id, 'PX', TTL, 'NX')) !== 'OK')
        await new Promise((resolve) => setTimeout(resolve, 25 + Math.random() * 50));
      return () => client.unlock('bare', id);
    };
  },
  fairlock: async () => {
    const lock = new RedisLocks({ client: connect(), ttl: TTL }).lock('bench');
    return async () => {
      const handle = await lock.acquire();
      return () => handle.release();
    };
  },
  redlock: async () => {
    const { default: Redlock } = await import(PEERS.redlock);
    const locks = new (Redlock.default ?? Redlock)([connect()], { retryCount: -1 });
    locks.on('error', () => {}); // It tells of each try that was not granted.
    return async () => {
      const lock = await locks.acquire(['redlock'], TTL);
      return () => lock.release();
    };
  },
  'redis-semaphore': async () => {
    const { Mutex } = await import(PEERS.semaphore);
    const client = connect();
    return async () => {
      const mutex = new Mutex(client, 'mutex', { acquireTimeout: 2 ** 31 - 1, lockTimeout: TTL });
      await mutex.acquire();
      return () => mutex.release();
    };
  },
};

if (values.contender !== undefined) await contend(await SUBJECTS[values.contender]());
else await main();

/** Told when to begin; tells what it was granted. */
async function contend(acquire) {
  for (let i = 0; i < 3; i++) await (await acquire())();
  process.send('ready');
  const [order] = await once(process, 'message');
  if (order === 'hold') {
    await acquire();
    process.send(now());
    return;
  }
  if (order === 'wait') {
    await acquire();
    process.send(now());
    process.exit();
  }
  const grants = [];
  for (const end = now() + Number(values.seconds) * 1000; now() < end; ) {
    const asked = now();
    const release = await acquire();
    grants.push([asked, now()]);
    await release();
  }
  process.send(grants, () => process.exit());
}

async function contenders(name, count) {
  const args = ['--contender', name, '--port', values.port, '--seconds', values.seconds];
  const children = Array.from({ length: count }, () => fork(fileURLToPath(import.meta.url), args));
  await Promise.all(children.map((child) => once(child, 'message')));
  return children;
}

/** For the one that was overtaken most. */
function mostOvertaken(grants) {
  const served = grants.sort((a, b) => a[1] - b[1]);
  let most = 0;
  for (const [i, [asked]] of served.entries()) {
    let count = 0;
    for (let k = i - 1; k >= 0 && served[k][1] > asked; k--) if (served[k][0] > asked) count++;
    most = Math.max(most, count);
  }
  return most;
}

async function main() {
  const server = await runRedis(folder);
  values.port = String(server.port);
  console.log(machine());

  const free = {};
  const acquires = {};
  for (const [name, make] of Object.entries(SUBJECTS)) {
    acquires[name] = await make();
    free[name] = [];
    for (let i = 0; i < 500; i++) await (await acquires[name]())();
  }
  for (let round = 0; round < 2000; round++) {
    for (const [name, acquire] of Object.entries(acquires)) {
      const began = now();
      await (await acquire())();
      free[name].push(now() - began);
    }
  }
  const bare = median(free['SET NX PX, by hand']);
  console.log(
    table(
      ['free: acquire + release', 'median ms', 'times by hand'],
      Object.entries(free).map(([name, taken]) => [name, median(taken).toFixed(3), (median(taken) / bare).toFixed(2)]),
    ),
  );

  const rows = [];
  for (const count of values.processes.split(',').map(Number)) {
    for (const name of Object.keys(SUBJECTS)) {
      const children = await contenders(name, count);
      for (const child of children) child.send('go');
      const grants = (await Promise.all(children.map(async (child) => (await once(child, 'message'))[0]))).flat();
      const took = (Math.max(...grants.map(([, at]) => at)) - Math.min(...grants.map(([asked]) => asked))) / 1000;
      rows.push([String(count), name, (grants.length / took).toFixed(0), String(mostOvertaken(grants))]);
    }
  }
  console.log(table(['processes', '', 'grants a second', 'overtaken at most'], rows));

  const takeovers = [];
  for (const name of Object.keys(SUBJECTS)) {
    const [holder] = await contenders(name, 1);
    const [waiter] = await contenders(name, 1);
    holder.send('hold');
    await once(holder, 'message');
    waiter.send('wait');
    const granted = once(waiter, 'message');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const killed = now();
    holder.kill('SIGKILL');
    takeovers.push([name, (((await granted)[0] - killed) / 1000).toFixed(2)]);
  }
  console.log(table([`holder killed, ttl ${TTL / 1000} s`, 'seconds until the next grant'], takeovers));
  await server.kill();
  process.exit();
}

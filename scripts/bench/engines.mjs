// Locks between machines, beside the bare calls, in one run: node scripts/bench/engines.mjs --etcd URL --postgres URL
// Free: acquire + release, and the calls that it cannot do without. Hand-over: two processes, one lock, and for etcd a
// client that writes other keys. Take-over: from kill -9 of the holder to the next grant.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { EtcdLocks } from '../../dist/etcd/index.js';
import { Connection } from '../../dist/internal/etcd/connection.js';
import { PostgresLocks } from '../../dist/postgres/index.js';
import { machine, median, now, quantile, table } from './support.mjs';

const { values } = parseArgs({
  options: { etcd: { type: 'string' }, postgres: { type: 'string' }, seconds: { type: 'string', default: '3' } },
  allowPositionals: true,
});
const FREE = 300;
const self = fileURLToPath(import.meta.url);
const locksOf = (engine) =>
  engine === 'etcd'
    ? new EtcdLocks({ endpoints: values.etcd, ttl: 5000 })
    : new PostgresLocks({ connectionString: values.postgres, lossAfter: 5000 });

/** A process of the benchmark: contends until it is told to stop, or holds. */
if (process.send !== undefined) {
  const [engine, name, what] = process.argv.slice(-3);
  const lock = locksOf(engine).lock(name);
  if (what === 'hold') {
    await lock.acquire();
    process.send('held');
    await new Promise((resolve) => setInterval(resolve, 1e9));
  }
  let isRunning = true;
  process.once('message', () => {
    isRunning = false;
  });
  const times = [];
  while (isRunning) {
    const handle = await lock.acquire();
    const granted = now();
    times.push([granted, now()]);
    await handle.release();
  }
  process.send(times);
  process.exit();
}

const child = (engine, name, what) =>
  fork(self, ['--etcd', values.etcd ?? '', '--postgres', values.postgres ?? '', '--', engine, name, what]);

async function each(count, work) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const began = now();
    await work(i);
    times.push(now() - began);
  }
  return median(times);
}

async function bareEtcd() {
  const connection = new Connection({ endpoints: [values.etcd], callTimeout: 5000 });
  const value = Buffer.alloc(120);
  const pair = async (i) => {
    const key = Buffer.from(`bench/${i}`);
    await connection.call('KV', 'Txn', { success: [{ request_put: { key, value } }, { request_range: { key } }] });
    await connection.call('KV', 'Txn', { success: [{ request_delete_range: { key } }] });
  };
  return { pair, close: () => connection.close() };
}

async function barePostgres() {
  const client = new pg.Client(values.postgres);
  await client.connect();
  const pair = async (i) => {
    await client.query('SELECT pg_try_advisory_lock($1::bigint)', [i]);
    await client.query('SELECT pg_advisory_unlock($1::bigint)', [i]);
  };
  return { pair, close: () => client.end() };
}

async function handOver(engine) {
  const children = [1, 2].map(() => child(engine, `bench ${process.pid}`, 'contend'));
  const writer = engine === 'etcd' ? await bareEtcd() : undefined;
  const end = now() + Number(values.seconds) * 1000;
  for (let i = 0; now() < end; i++) {
    if (writer === undefined) await new Promise((resolve) => setTimeout(resolve, 100));
    else await writer.pair(i);
  }
  const all = await Promise.all(
    children.map(async (one, who) => {
      const told = once(one, 'message');
      one.send('stop');
      return (await told)[0].map(([granted, released]) => ({ who, granted, released }));
    }),
  );
  writer?.close();
  const grants = all.flat().sort((a, b) => a.granted - b.granted);
  const between = grants
    .slice(1)
    .flatMap((one, i) => (one.who === grants[i].who ? [] : one.granted - grants[i].released));
  return { perSecond: grants.length / Number(values.seconds), between };
}

async function takeOver(engine) {
  const name = `take-over ${process.pid}`;
  const holder = child(engine, name, 'hold');
  await once(holder, 'message');
  const locks = locksOf(engine);
  const waiting = locks.lock(name).acquire();
  while ((await locks.inspect(name)).waiters.length === 0);
  const killed = now();
  holder.kill('SIGKILL');
  const handle = await waiting;
  const took = now() - killed;
  await handle.release();
  await locks.close();
  return took;
}

const rows = [];
for (const engine of ['etcd', 'postgres']) {
  if (values[engine] === undefined) continue;
  const bare = engine === 'etcd' ? await bareEtcd() : await barePostgres();
  const locks = locksOf(engine);
  const lock = locks.lock(`free ${process.pid}`);
  await (await lock.acquire()).release();
  const pairs = { bare: [], ours: [] };
  for (let round = 0; round < 5; round++) {
    pairs.bare.push(await each(FREE / 5, bare.pair));
    pairs.ours.push(await each(FREE / 5, async () => (await lock.acquire()).release()));
  }
  await locks.close();
  await bare.close();
  const { perSecond, between } = await handOver(engine);
  const ms = (number) => `${number.toFixed(2)} ms`;
  rows.push([
    engine,
    ms(median(pairs.bare)),
    `${ms(median(pairs.ours))} (${(median(pairs.ours) / median(pairs.bare)).toFixed(2)} ×)`,
    Math.round(perSecond),
    ms(median(between)),
    ms(quantile(between, 0.95)),
    ms(await takeOver(engine)),
  ]);
}
console.log(machine());
console.log(table(['', 'bare calls', 'free', '2 processes, per s', 'hand-over', 'p95', 'kill -9'], rows));
process.exit();

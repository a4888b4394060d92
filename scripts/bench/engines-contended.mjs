// One lock of a service and 1 to 16 processes that want it, beside bare loops and peers, in one run:
//   node scripts/bench/engines-contended.mjs --postgres URL [--etcd URL] [--seconds 3] [--processes 1,2,4,8,16]
// Grants a second of all, the time from a release to the next process's grant, and the processor time of the clients.
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { machine, median, now, quantile, table } from './support.mjs';

const { values, positionals } = parseArgs({
  options: {
    etcd: { type: 'string' },
    postgres: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    processes: { type: 'string', default: '1,2,4,8,16' },
    subjects: { type: 'string' },
  },
  allowPositionals: true,
});
/** A process is warm after so many grants, or so many ms. */
const [WARM_GRANTS, WARM_MS] = [3000, 15_000];

async function locksOf(engine) {
  if (engine === 'etcd') return new (await import('../../dist/etcd/index.js')).EtcdLocks({ endpoints: values.etcd });
  const { PostgresLocks } = await import('../../dist/postgres/index.js');
  return new PostgresLocks({ connectionString: values.postgres, lossAfter: 5000 });
}

const fairlock = (engine) => async () => {
  const lock = (await locksOf(engine)).lock('bench');
  return async () => {
    const handle = await lock.acquire();
    return () => handle.release();
  };
};

/** Each makes a function that acquires, and resolves to one that releases. */
const subjects = {
  /** What a program writes by hand: a session lock, and no token. */
  'postgres: bare': async () => {
    const { default: pg } = await import('pg');
    const client = new pg.Client(values.postgres);
    await client.connect();
    return async () => {
      await client.query('SELECT pg_advisory_lock($1::bigint)', [4711]);
      return () => client.query('SELECT pg_advisory_unlock($1::bigint)', [4711]);
    };
  },
  'postgres: fairlock': fairlock('postgres'),
  'postgres: advisory-lock': async () => {
    const peer = 'advisory-lock'; // Not of this package: npm install --no-save advisory-lock
    const { default: lockOf } = await import(peer);
    const lock = (lockOf.default ?? lockOf)(values.postgres)('bench');
    return async () => {
      const unlock = await lock.lock();
      return () => unlock();
    };
  },
  'etcd: bare': async () => {
    const { Connection } = await import('../../dist/internal/etcd/connection.js');
    const { Watcher } = await import('../../dist/internal/etcd/watcher.js');
    const connection = new Connection({ endpoints: [values.etcd], callTimeout: 5000 });
    const watcher = new Watcher(connection);
    const { ID: lease } = await connection.call('Lease', 'LeaseGrant', { TTL: 600, ID: 0 });
    const folder = 'bare/';
    const all = { key: Buffer.from(folder), range_end: Buffer.from('bare0') };
    let count = 0;
    return async () => {
      const key = Buffer.from(`${folder}${lease}-${++count}`);
      const put = { request_put: { key, value: Buffer.alloc(100), lease } };
      const { header } = await connection.call('KV', 'Txn', { success: [put] });
      const max = (BigInt(header.revision) - 1n).toString();
      for (;;) {
        const range = { ...all, sort_order: 2, sort_target: 2, limit: 1, keys_only: true, max_create_revision: max };
        const [before] = (await connection.call('KV', 'Range', range)).kvs;
        if (before === undefined) break;
        await new Promise((resolve) => {
          const end = watcher.watch(before.key, async (has) => {
            if (has === 'begun' && (await connection.call('KV', 'Range', { key: before.key })).kvs.length > 0) return;
            end();
            resolve();
          });
        });
      }
      return () => connection.call('KV', 'DeleteRange', { key });
    };
  },
  'etcd: fairlock': fairlock('etcd'),
  'etcd: etcdctl lock': async () => {
    const run = promisify(execFile);
    const env = { ...process.env, ETCDCTL_API: '3' };
    // The lock is held while the command runs: it is asked for and given back by one call.
    return async () => {
      await run('etcdctl', ['--endpoints', values.etcd, 'lock', 'bench-ctl', 'true'], { env });
      return () => {};
    };
  },
};

if (process.send !== undefined) {
  const acquire = await subjects[positionals[0]]();
  const first = await acquire();
  await first();
  process.send('ready');
  await once(process, 'message');
  // As a process that has run for a while: Node has compiled by then what it does again and again.
  let isCounting = false;
  process.once('message', () => {
    isCounting = true;
  });
  const late = now() + WARM_MS;
  for (let grants = 0, isWarm = false; !isCounting; grants++) {
    await (await acquire())();
    if (isWarm || (grants < WARM_GRANTS && now() < late)) continue;
    isWarm = true;
    process.send('warm');
  }
  let isRunning = true;
  process.once('message', () => {
    isRunning = false;
  });
  const times = [];
  const before = process.cpuUsage();
  while (isRunning) {
    const release = await acquire();
    const granted = now();
    const released = now();
    await release();
    times.push([granted, released]);
  }
  const { user, system } = process.cpuUsage(before);
  process.send({ times, cpu: (user + system) / 1000 });
  await once(process, 'message');
  process.exit();
}

const self = fileURLToPath(import.meta.url);
const options = ['etcd', 'postgres'].flatMap((name) => (values[name] === undefined ? [] : [`--${name}`, values[name]]));

async function measure(subject, processes) {
  const children = Array.from({ length: processes }, () => fork(self, [...options, '--', subject]));
  await Promise.all(children.map((child) => once(child, 'message')));
  const warm = children.map((child) => once(child, 'message'));
  for (const child of children) child.send('start');
  await Promise.all(warm);
  for (const child of children) child.send('count');
  await new Promise((resolve) => setTimeout(resolve, Number(values.seconds) * 1000));
  const told = await Promise.all(
    children.map(async (child) => {
      const answer = once(child, 'message');
      child.send('stop');
      return (await answer)[0];
    }),
  );
  for (const child of children) child.send('end');
  await Promise.all(children.map((child) => once(child, 'exit')));
  const grants = told
    .flatMap(({ times }, one) => times.map(([granted, released]) => ({ one, granted, released })))
    .sort((a, b) => a.granted - b.granted);
  const between = grants.slice(1).flatMap((grant, i) => {
    const before = grants[i];
    return grant.one === before.one && processes > 1 ? [] : [grant.granted - before.released];
  });
  const cpu = told.reduce((sum, one) => sum + one.cpu, 0) / grants.length;
  return {
    rate: grants.length / Number(values.seconds),
    median: median(between),
    p95: quantile(between, 0.95),
    cpu,
  };
}

const wanted = Object.keys(subjects).filter((name) =>
  values.subjects === undefined
    ? values[name.split(':')[0]] !== undefined && name !== 'postgres: advisory-lock'
    : values.subjects.split(',').includes(name),
);
const rows = [];
for (const processes of values.processes.split(',').map(Number)) {
  const seen = new Map(wanted.map((name) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of wanted) seen.get(name).push(await measure(name, processes));
  }
  for (const [name, all] of seen) {
    const of = (what) => median(all.map((one) => one[what]));
    const bare = seen.get(`${name.split(':')[0]}: bare`) ?? all;
    const ratio = (what) => (of(what) / median(bare.map((one) => one[what]))).toFixed(2);
    rows.push([
      processes,
      name,
      Math.round(of('rate')),
      ratio('rate'),
      of('median').toFixed(2),
      ratio('median'),
      of('p95').toFixed(2),
      of('cpu').toFixed(2),
      ratio('cpu'),
    ]);
  }
}
console.log(machine());
console.log(
  table(
    ['processes', 'subject', 'grants/s', '× bare', 'hand-over ms', '× bare', 'p95 ms', 'client ms/grant', '× bare'],
    rows,
  ),
);

/** Many waiters in one process. */
const WAITERS = 1000;
for (const name of wanted.filter((one) => one.endsWith('fairlock'))) {
  const locks = await locksOf(name.split(':')[0]);
  const lock = locks.lock('many');
  const held = await lock.acquire();
  const all = Array.from({ length: WAITERS }, () => lock.withLock(() => {}));
  const began = now();
  await held.release();
  await Promise.all(all);
  const each = (now() - began) / WAITERS;
  console.log(`${name}: ${WAITERS} waiters in one process, ${each.toFixed(2)} ms a grant`);
  await locks.close();
}

// Chaos on the engines, with servers of its own: three nodes of etcd, a PostgreSQL primary and its standby, PgBouncer,
// a Redis primary and its replica.
//   node scripts/chaos/engines.mjs [--seconds 600] [--seed N]
// Processes that contend for one lock of each are killed, stopped, cut off, and told to give up; nodes of etcd are killed
// and stopped; primaries are killed or stopped and their standbys promoted; Redis is made to sleep, to drop its clients,
// and to begin anew without data; then the logs are checked. Connections are cut
// and swallowed by a proxy of each process. A holder calls check() before each write, as a program should that must not
// write twice. Checked: the tokens of the writes, in the order of time over all processes, never go back; no token is
// granted twice; when all is mended each process is granted the lock once more; nothing is left on the servers. Told:
// how many neighbouring grants were out of the order of their requests, and what was wrong then.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { EtcdLocks } from '../../dist/etcd/index.js';
import { PostgresLocks } from '../../dist/postgres/index.js';
import { RedisLocks } from '../../dist/redis/index.js';
import { randomOf } from './drive.mjs';
import { askRedis, missing, startEtcd, startPgBouncer, startPostgres, startRedis } from './servers.mjs';

const { values } = parseArgs({
  options: {
    etcd: { type: 'string' },
    postgres: { type: 'string' },
    redis: { type: 'string' },
    only: { type: 'string', default: 'etcd,postgres,redis' },
    actor: { type: 'string' },
    folder: { type: 'string' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
  },
});
const ACTORS = 4;
const TTL = 5000;
/** By when each process is granted the lock once more. */
const LAST_MS = 60_000;
/** Neighbouring grants that were asked for in the other order count from here. */
const OUT_OF_ORDER_MS = 20;
/**
 * How long, in ms, a holder may not know yet that its lock is another's. PostgreSQL has no lease: it frees the lock at once
 * when a connection is cut, and grants it in the moment in which the holder learns of that.
 */
const UNKNOWING_MS = { etcd: 0, postgres: 100, redis: 0 };
const ENGINES = values.only.split(',');
const now = () => Number(process.hrtime.bigint()) / 1e6;
const MAKE = {
  etcd: (url) => new EtcdLocks({ endpoints: url.split(','), ttl: TTL, prefix: 'chaos/', callTimeout: 1000 }),
  postgres: (url) => new PostgresLocks({ connectionString: url, lossAfter: TTL }),
  redis: (url) => new RedisLocks({ url, ttl: TTL, callTimeout: 1000 }),
};
const locksOf = (engine, url) => MAKE[engine](url);

if (values.actor !== undefined) await actor(values.actor, values.folder);
else await main();
process.exit();

/** Asks, holds, writes and releases, until there is a file called `stop`. */
async function actor(engine, folder) {
  const random = randomOf(process.pid);
  const locks = locksOf(engine, values[engine]);
  const lock = locks.lock('chaos');
  const log = join(folder, `${engine}-${process.pid}.log`);
  const record = (...words) => appendFileSync(log, `${words.join(' ')}\n`);
  while (!existsSync(join(folder, 'stop'))) {
    const controller = new AbortController();
    if (random() < 0.3) setTimeout(random() * 50).then(() => controller.abort());
    let handle;
    const asked = now();
    try {
      handle = await lock.acquire({ timeout: 50 + random() * 3000, signal: controller.signal });
    } catch {
      continue;
    }
    record('grant', handle.token, asked, now(), process.pid);
    for (let writes = 1 + random() * 5; writes > 0; writes--) {
      try {
        handle.check();
      } catch {
        record('told', handle.token);
        break;
      }
      record('write', handle.token, now());
      await setTimeout(random() * 4);
    }
    await Promise.race([handle.release(), setTimeout(1000)]);
  }
  try {
    const handle = await lock.acquire({ timeout: LAST_MS });
    record('last', process.pid);
    await handle.release();
  } catch (error) {
    record('refused', process.pid, error.message);
  }
  await Promise.race([locks.close(), setTimeout(2000)]);
}

async function main() {
  const lacks = missing();
  if (lacks !== undefined) {
    console.log(`skipped: ${lacks} is not installed`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'chaos-engines-'));
  const random = randomOf(Number(values.seed));
  const [etcd, postgres, redis] = await Promise.all([startEtcd(), startPostgres(), startRedis()]);
  const toPrimary = await proxyTo(() => postgres.pair.primary.port);
  const bouncer = await startPgBouncer(toPrimary.port);
  /** When what was wrong: `[from, to, slot]`, of a server without a slot. */
  const faults = [];
  const counts = {};
  const slots = [];
  const targetsOf = {
    etcd: () =>
      etcd.servers.map(
        ({ port }) =>
          () =>
            port,
      ),
    postgres: (i) => [i % 2 === 0 ? () => postgres.pair.primary.port : () => bouncer.server.port],
    redis: () => [() => redis.pair.primary.port],
  };
  for (const engine of ENGINES) {
    for (let i = 0; i < ACTORS; i++) {
      const targets = targetsOf[engine](i);
      const proxies = await Promise.all(targets.map(proxyTo));
      const url = urlOf(engine, proxies);
      const slot = { engine, proxies, child: undefined, busy: false };
      slot.start = () => {
        const words = ['--actor', engine, '--folder', folder, `--${engine}`, url];
        slot.child = fork(fileURLToPath(import.meta.url), words, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
        slot.pids = [...(slot.pids ?? []), slot.child.pid];
      };
      slot.start();
      slots.push(slot);
    }
  }
  const underWay = new Set();
  /** Something is wrong for a while, and then mended. */
  const fault = (what, slot, begin, mend, longest = TTL * 1.6) => {
    counts[what] = (counts[what] ?? 0) + 1;
    if (slot !== undefined) slot.busy = true;
    const from = now();
    const going = (async () => {
      const made = await begin();
      await setTimeout(random() * longest);
      await mend(made);
      faults.push([from, now(), slot]);
      if (slot !== undefined) slot.busy = false;
    })();
    underWay.add(going);
    going.finally(() => underWay.delete(going));
    return going;
  };
  const cutRedis = () => {
    for (const { engine, proxies } of slots) if (engine === 'redis') for (const proxy of proxies) proxy.cut();
  };
  const redisFault = () => {
    const ofServer = (what, begin, mend, longest) => fault(`Redis ${what}`, undefined, begin, mend, longest);
    const { primary } = redis.pair;
    const nothing = () => {};
    const dice = random();
    if (dice < 0.15)
      return ofServer('clients killed', () => askRedis(primary, 'CLIENT', 'KILL', 'TYPE', 'normal'), nothing, 0);
    if (dice < 0.3)
      return ofServer('subscribers killed', () => askRedis(primary, 'CLIENT', 'KILL', 'TYPE', 'pubsub'), nothing, 0);
    if (dice < 0.45)
      return ofServer('sleeps', () => askRedis(primary, 'DEBUG', 'SLEEP', String(random() * 4)), nothing, 0);
    if (dice < 0.55) return ofServer('scripts forgotten', () => askRedis(primary, 'SCRIPT', 'FLUSH'), nothing, 0);
    if (dice < 0.65)
      return ofServer(
        'restarts without data',
        () => primary.kill(),
        () => redis.restart(primary),
        1000,
      );
    const how = random() < 0.5 ? 'kill' : 'stop';
    return ofServer(
      `failovers (${how})`,
      () => redis.failOver(how),
      async (mend) => {
        cutRedis(); // As above.
        await mend();
      },
      1000,
    );
  };
  const serverFault = () => {
    const isRedis = ENGINES.includes('redis') && (ENGINES.length === 1 || random() < 0.4);
    if (isRedis) return redisFault();
    const node = etcd.servers[Math.floor(random() * etcd.servers.length)];
    const ofServer = (what, begin, mend, longest) => fault(what, undefined, begin, mend, longest);
    const dice = random();
    if (dice < 0.3) {
      const kill = () => node.kill();
      return ofServer('etcd nodes killed', kill, () => node.start());
    }
    if (dice < 0.6) {
      const stop = () => node.child.kill('SIGSTOP');
      return ofServer('etcd nodes stopped', stop, () => node.child.kill('SIGCONT'));
    }
    if (dice < 0.7) {
      const kill = () => bouncer.server.kill();
      return ofServer('PgBouncer killed', kill, () => bouncer.server.start(), 1000);
    }
    const how = random() < 0.5 ? 'kill' : 'stop';
    return ofServer(
      `PostgreSQL failovers (${how})`,
      () => postgres.failOver(how),
      async (mend) => {
        // Connections to the old primary, which may be stopped, are those of a machine that is gone.
        toPrimary.cut();
        await mend();
      },
    );
  };

  const end = performance.now() + Number(values.seconds) * 1000;
  let nextServerFault = performance.now() + 3000;
  let isServerDown = false;
  while (performance.now() < end) {
    await setTimeout(100 + random() * 500);
    if (performance.now() > nextServerFault) {
      nextServerFault = performance.now() + 4000 + random() * 10_000;
      if (!isServerDown) {
        isServerDown = true;
        serverFault().finally(() => {
          isServerDown = false;
        });
      }
    }
    const slot = slots[Math.floor(random() * slots.length)];
    if (slot.busy) continue;
    const dice = random();
    const proxy = slot.proxies[Math.floor(random() * slot.proxies.length)];
    if (dice < 0.3) {
      const kill = async () => {
        slot.child.kill('SIGKILL');
        await once(slot.child, 'exit');
      };
      fault('processes killed', slot, kill, () => slot.start(), 0);
    } else if (dice < 0.55) {
      const stop = () => slot.child.kill('SIGSTOP');
      fault('processes stopped', slot, stop, () => slot.child.kill('SIGCONT'));
    } else if (dice < 0.8) {
      fault(
        'networks that swallow',
        slot,
        () => proxy.swallow(),
        () => proxy.cut(),
      );
    } else
      fault(
        'connections cut',
        slot,
        () => proxy.cut(),
        () => {},
        0,
      );
  }
  await Promise.all(underWay);
  // All is mended. Each actor is granted the lock once more: no wait is left on a lock that is free.
  writeFileSync(join(folder, 'stop'), '');
  const last = slots.map(async ({ child }) => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await Promise.race([Promise.all(last), setTimeout(LAST_MS * 2)]);
  for (const { child } of slots) child.kill('SIGKILL');
  console.log(`${values.seconds} s, seed ${values.seed}: ${JSON.stringify(counts)}`);
  let failures = 0;
  const urls = {
    etcd: urlOf('etcd', etcd.servers),
    postgres: urlOf('postgres', [postgres.pair.primary]),
    redis: urlOf('redis', [redis.pair.primary]),
  };
  for (const engine of ENGINES) {
    const violations = [...check(engine, folder, slots, faults), ...(await left(engine, urls[engine]))];
    failures += violations.length;
    for (const one of violations) console.log(`${engine}: ${one}`);
  }
  await Promise.all([etcd.end(), postgres.end(), bouncer.end(), redis.end()]);
  rmSync(folder, { recursive: true });
  process.exitCode = failures === 0 ? 0 : 1;
}

function check(engine, folder, slots, faults) {
  const lines = readdirSync(folder)
    .filter((name) => name.startsWith(`${engine}-`))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').trim().split('\n'))
    .map((line) => line.split(' '));
  const of = (what) => lines.filter(([first]) => first === what);
  const grants = of('grant').map(([, token]) => token);
  const writes = of('write').map(([, token, at]) => ({ token: Number(token), at: Number(at) }));
  writes.sort((a, b) => a.at - b.at);
  const violations = [];
  let unknowing = 0;
  if (new Set(grants).size !== grants.length) violations.push('a token was granted twice');
  for (const [i, { token, at }] of writes.entries()) {
    const before = writes[i - 1];
    if (before === undefined || token >= before.token) continue;
    const first = writes.find((one) => one.token > token);
    const late = at - first.at;
    if (late <= UNKNOWING_MS[engine]) unknowing++;
    else violations.push(`token ${token} wrote ${late.toFixed(1)} ms after the first write of a greater one`);
  }
  const last = new Set(of('last').map(([, pid]) => Number(pid)));
  for (const { child, engine: own } of slots) {
    if (own === engine && !last.has(child.pid))
      violations.push(`a wait was left on a free lock (process ${child.pid})`);
  }
  for (const [, pid, ...why] of of('refused')) violations.push(`process ${pid} was not granted it: ${why.join(' ')}`);
  order(engine, of('grant'), slots, faults);
  console.log(
    `${engine}: ${grants.length} grants, ${writes.length} writes, ${of('told').length} holders were told in time, ` +
      `${unknowing} writes in the moment of the loss, which a store refuses by their tokens`,
  );
  return violations;
}

/** Which neighbouring grants were asked for in the other order, as their processes saw it; and what was wrong then. */
function order(engine, lines, slots, faults) {
  const grants = lines
    .map(([, token, asked, granted, pid]) => ({ token: +token, asked: +asked, granted: +granted, pid: +pid }))
    .sort((a, b) => a.granted - b.granted);
  let [inverted, withFault, first, byToken] = [0, 0, 0, 0];
  const firstOf = new Map();
  for (const one of grants) if (!firstOf.has(one.pid)) firstOf.set(one.pid, one);
  for (const [i, one] of grants.entries()) {
    const before = grants[i - 1];
    if (before === undefined || before.asked - one.asked <= OUT_OF_ORDER_MS) continue;
    inverted++;
    if (before.token < one.token) byToken++;
    const slot = slots.find(({ pids }) => pids.includes(one.pid));
    const isAtFault = faults.some(
      ([from, to, whose]) => (whose === undefined || whose === slot) && from < one.granted && to > one.asked - TTL,
    );
    if (isAtFault) withFault++;
    else if (firstOf.get(one.pid) === one) first++;
  }
  const inQueue =
    engine === 'postgres' ? '' : `; in its queue, by their tokens, ${inverted - byToken} were out of order`;
  console.log(
    `${engine}: ${inverted} of ${grants.length} neighbouring grants were out of the order of their requests by more than ` +
      `${OUT_OF_ORDER_MS} ms: ${withFault} while the process that asked first, or a server, was stopped, killed or cut ` +
      `off, ${first} where that had no connection yet${inQueue}`,
  );
}

/** What is left on the server once the leases and connections of killed processes are over. */
async function left(engine, url) {
  const locks = locksOf(engine, url);
  const look = async () => {
    if (engine !== 'postgres') {
      const { holders, waiters } = await locks.inspect('chaos');
      return holders.length + waiters.length;
    }
    const client = new pg.Client(url);
    await client.connect();
    const { rows } = await client.query("SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'");
    await client.end();
    return rows[0].count;
  };
  let count = await look();
  for (const end = performance.now() + 30_000; count > 0 && performance.now() < end; count = await look()) {
    await setTimeout(200);
  }
  await locks.close();
  return count === 0 ? [] : [`${count} locks are left`];
}

function urlOf(engine, servers) {
  const url = ({ port }) =>
    ({
      etcd: `http://127.0.0.1:${port}`,
      postgres: `postgresql://postgres@127.0.0.1:${port}/postgres`,
      redis: `redis://127.0.0.1:${port}`,
    })[engine];
  return servers.map(url).join(',');
}

/** Forwards until it is told to swallow; no connection is closed then. */
async function proxyTo(target) {
  const sockets = new Set();
  let isSwallowing = false;
  const server = createServer((client) => {
    const upstream = connect(target(), '127.0.0.1');
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      sockets.add(from);
      from.on('data', (data) => isSwallowing || to.write(data));
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        if (!isSwallowing) to.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    isSwallowing = false;
    for (const socket of sockets) socket.destroy();
  };
  const swallow = () => {
    isSwallowing = true;
  };
  return { port: server.address().port, cut, swallow };
}

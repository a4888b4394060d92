// Chaos on the engines: processes that contend for one lock of each are killed, stopped, cut off and told to give up,
// at random; then their logs are checked. Needs servers that run:
//   node scripts/chaos/engines.mjs --etcd URL --postgres URL [--seconds 600] [--seed N]
// A holder calls check() before each write, as a program should that must not write twice. Checked: the tokens of the
// writes, in the order of time over all processes, never go back; no token is granted twice; nothing is left on the
// servers.
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
import { randomOf } from './drive.mjs';

const { values } = parseArgs({
  options: {
    etcd: { type: 'string' },
    postgres: { type: 'string' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
    actor: { type: 'string' },
    folder: { type: 'string' },
  },
});
const ACTORS = 4;
const TTL = 5000;
/**
 * How long, in ms, a holder may not know yet that its lock is another's. PostgreSQL has no lease: it frees the lock at once
 * when a connection is cut, and grants it in the moment in which the holder learns of that.
 */
const UNKNOWING_MS = { etcd: 0, postgres: 100 };
const now = () => Number(process.hrtime.bigint()) / 1e6;
const locksOf = (engine, url) =>
  engine === 'etcd'
    ? new EtcdLocks({ endpoints: url, ttl: TTL, prefix: 'chaos/', callTimeout: 1000 })
    : new PostgresLocks({ connectionString: url, lossAfter: TTL });

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
    try {
      handle = await lock.acquire({ timeout: 50 + random() * 3000, signal: controller.signal });
    } catch {
      continue;
    }
    record('grant', handle.token);
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
  await Promise.race([locks.close(), setTimeout(2000)]);
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-engines-'));
  const random = randomOf(Number(values.seed));
  const engines = ['etcd', 'postgres'].filter((engine) => values[engine] !== undefined);
  const end = performance.now() + Number(values.seconds) * 1000;
  const counts = { kills: 0, stops: 0, cuts: 0, 'swallowed connections': 0 };
  const slots = [];
  for (const engine of engines) {
    for (let i = 0; i < ACTORS; i++) {
      const slot = { engine, proxy: await proxyTo(new URL(values[engine])), child: undefined, busy: false };
      slot.start = () => {
        const words = ['--actor', engine, '--folder', folder, `--${engine}`, slot.proxy.url];
        slot.child = fork(fileURLToPath(import.meta.url), words, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
      };
      slot.start();
      slots.push(slot);
    }
  }
  while (performance.now() < end) {
    await setTimeout(100 + random() * 500);
    const slot = slots[Math.floor(random() * slots.length)];
    if (slot.busy) continue;
    const dice = random();
    if (dice < 0.3) {
      counts.kills++;
      slot.child.kill('SIGKILL');
      await once(slot.child, 'exit');
      slot.start();
    } else if (dice < 0.55) {
      counts.stops++;
      slot.busy = true;
      slot.child.kill('SIGSTOP');
      setTimeout(random() * TTL * 1.6).then(() => {
        slot.child.kill('SIGCONT');
        slot.busy = false;
      });
    } else if (dice < 0.8) {
      counts['swallowed connections']++;
      slot.busy = true;
      slot.proxy.swallow();
      setTimeout(random() * TTL * 1.6).then(() => {
        slot.proxy.cut();
        slot.busy = false;
      });
    } else {
      counts.cuts++;
      slot.proxy.cut();
    }
  }
  while (slots.some(({ busy }) => busy)) await setTimeout(50);
  writeFileSync(join(folder, 'stop'), '');
  await Promise.all(slots.map(({ child }) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
  console.log(`${values.seconds} s, seed ${values.seed}: ${JSON.stringify(counts)}`);
  let failures = 0;
  for (const engine of engines) {
    const violations = [...check(engine, folder), ...(await left(engine))];
    failures += violations.length;
    for (const one of violations) console.log(`${engine}: ${one}`);
  }
  rmSync(folder, { recursive: true });
  process.exitCode = failures === 0 ? 0 : 1;
}

function check(engine, folder) {
  const lines = readdirSync(folder)
    .filter((name) => name.startsWith(`${engine}-`))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').trim().split('\n'))
    .map((line) => line.split(' '));
  const of = (what) => lines.filter(([first]) => first === what);
  const grants = of('grant').map(([, token]) => token);
  const writes = of('write').map(([, token, at]) => ({ token: Number(token), at: Number(at) }));
  writes.sort((a, b) => a.at - b.at);
  const violations = [];
  if (new Set(grants).size !== grants.length) violations.push('a token was granted twice');
  for (const [i, { token, at }] of writes.entries()) {
    const before = writes[i - 1];
    if (before === undefined || token >= before.token) continue;
    const first = writes.find((one) => one.token > token);
    const late = at - first.at;
    const text = `token ${token} wrote ${late.toFixed(1)} ms after the first write of a greater one`;
    if (late > UNKNOWING_MS[engine]) violations.push(text);
    else console.log(`${engine}: ${text}: a store that looks at the token refuses it`);
  }
  console.log(
    `${engine}: ${grants.length} grants, ${writes.length} writes, ${of('told').length} holders were told in time`,
  );
  return violations;
}

/** What is left on the server once the leases and connections of killed processes are over. */
async function left(engine) {
  const locks = locksOf(engine, values[engine]);
  const look = async () => {
    if (engine === 'etcd') {
      const { holders, waiters } = await locks.inspect('chaos');
      return holders.length + waiters.length;
    }
    const client = new pg.Client(values.postgres);
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

/** Forwards until it is told to swallow; no connection is closed then. */
async function proxyTo(target) {
  const sockets = new Set();
  let isSwallowing = false;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
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
  const url = new URL(target);
  url.port = String(server.address().port);
  url.hostname = '127.0.0.1';
  const cut = () => {
    isSwallowing = false;
    for (const socket of sockets) socket.destroy();
  };
  const swallow = () => {
    isSwallowing = true;
  };
  return { url: url.href, cut, swallow };
}

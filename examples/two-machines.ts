// One leader on two "machines": network namespaces with a real etcd and a real PostgreSQL between them. The leader
// writes to the database with its fencing token; then its network is cut, the other machine takes over, and the network
// comes back. Linux, as root, with etcd and PostgreSQL installed. Run with: npx tsx examples/two-machines.ts
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { LeaderElection } from 'fairlock/cluster';
import { EtcdLocks } from 'fairlock/etcd';
import pg from 'pg';

const [role] = process.argv.slice(2);
const NETWORK = `10.213.${process.pid % 250}`;
const { ETCD = `http://${NETWORK}.1:2379`, DATABASE = `postgresql://postgres@${NETWORK}.1:5432/postgres` } =
  process.env;

if (role === 'worker') await worker();
else await main();

/** What runs on each machine: a candidate that, while it leads, does the jobs. */
async function worker(): Promise<void> {
  const election = new LeaderElection(new EtcdLocks({ endpoints: ETCD, ttl: 5000, callTimeout: 1000 }).lock('leader'));
  console.log('is up');
  for await (const term of election) {
    console.log(`leads, with token ${term.token}`);
    const store = new pg.Client(DATABASE);
    store.on('error', () => {});
    await store.connect();
    const lost = once(term.signal, 'abort');
    let written = 0;
    while (!term.signal.aborted) {
      // The store refuses tokens that are smaller than those it has seen.
      const write = store.query('UPDATE jobs SET done = done + 1, token = $1 WHERE token <= $1', [term.token]);
      const outcome = await Promise.race([write.catch(() => undefined), lost]);
      if (Array.isArray(outcome)) break;
      written++;
      await Promise.race([setTimeout(100), lost]);
    }
    console.log(`leads no more, after ${written} jobs: ${(term.signal.reason as Error).message}`);
    store.end().catch(() => {});
  }
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'two-machines-'));
  const children: ChildProcess[] = [];
  const undo: (() => void)[] = [() => rmSync(folder, { recursive: true, force: true })];
  const ip = (...words: string[]): void => void execFileSync('ip', words, { stdio: 'pipe' });
  const start = performance.now();
  const say = (text: string): void => console.log(`${((performance.now() - start) / 1000).toFixed(1)} s  ${text}`);
  try {
    const bridge = `fl${process.pid}`;
    ip('link', 'add', bridge, 'type', 'bridge');
    undo.push(() => ip('link', 'del', bridge));
    ip('addr', 'add', `${NETWORK}.1/24`, 'dev', bridge);
    ip('link', 'set', bridge, 'up');
    children.push(startEtcd(folder), startPostgres(folder));
    await prepareStore();

    const seen: { machine: string; line: string }[] = [];
    for (const [i, name] of ['a', 'b'].entries()) {
      const [space, outside, inside] = [
        `fl${process.pid}${name}`,
        `fl${process.pid}${name}0`,
        `fl${process.pid}${name}1`,
      ];
      ip('netns', 'add', space);
      undo.push(() => ip('netns', 'del', space));
      ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', space);
      ip('link', 'set', outside, 'master', bridge, 'up');
      ip('-n', space, 'addr', 'add', `${NETWORK}.${i + 2}/24`, 'dev', inside);
      ip('-n', space, 'link', 'set', inside, 'up');
      const program = [process.execPath, ...process.execArgv, process.argv[1] as string, 'worker'];
      const child = spawn('ip', ['netns', 'exec', space, ...program], {
        env: { ...process.env, ETCD, DATABASE },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      createInterface(child.stdout).on('line', (line) => {
        say(`machine ${name} ${line}`);
        seen.push({ machine: name, line });
      });
      await until(() => seen.some((one) => one.machine === name && one.line === 'is up'));
    }
    const leads = (from: number): string | undefined =>
      seen.slice(from).find(({ line }) => line.startsWith('leads, '))?.machine;
    const first = await until(() => leads(0));
    await until(async () => (await jobs()).done > 5);

    say(`the network of machine ${first} is cut`);
    const before = seen.length;
    ip('link', 'set', `fl${process.pid}${first}0`, 'down');
    await until(() => leads(before));
    const { done } = await jobs();
    await until(async () => (await jobs()).done > done);
    const { token } = await jobs(); // The second leader's, which has written.

    say(`the network of machine ${first} is back`);
    ip('link', 'set', `fl${process.pid}${first}0`, 'up');
    await setTimeout(2000);
    const end = await jobs();
    const wentBack = BigInt(end.token) < BigInt(token);
    say(`${end.done} jobs are done; the token of the store ${wentBack ? 'went back' : 'has not gone back'}`);
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
    for (const one of undo.reverse()) {
      try {
        one();
      } catch (error) {
        console.error(`cannot tidy up: ${error}`);
      }
    }
  }
}

function startEtcd(folder: string): ChildProcess {
  const peer = `http://${NETWORK}.1:2380`;
  const words = ['--data-dir', join(folder, 'etcd'), '--initial-cluster', `default=${peer}`];
  for (const name of ['listen-client-urls', 'advertise-client-urls']) words.push(`--${name}`, ETCD);
  for (const name of ['listen-peer-urls', 'initial-advertise-peer-urls']) words.push(`--${name}`, peer);
  return spawn('etcd', words, { stdio: 'ignore' });
}

/** As the user postgres: it refuses to run as root. */
function startPostgres(folder: string): ChildProcess {
  const base = '/usr/lib/postgresql';
  const bin = existsSync(base) ? join(base, readdirSync(base).sort().at(-1) as string, 'bin') : '';
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  const as = { uid: id('-u'), gid: id('-g'), cwd: folder };
  const data = join(folder, 'postgres');
  chownSync(folder, as.uid, as.gid);
  execFileSync(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync'], {
    ...as,
    stdio: 'ignore',
  });
  execFileSync('sh', ['-c', `echo 'host all all ${NETWORK}.0/24 trust' >> ${data}/pg_hba.conf`], as);
  const settings = [`listen_addresses=${NETWORK}.1`, 'unix_socket_directories='].flatMap((one) => ['-c', one]);
  return spawn(join(bin, 'postgres'), ['-D', data, ...settings], { ...as, stdio: 'ignore' });
}

async function query(text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(DATABASE);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

async function prepareStore(): Promise<void> {
  await until(() => query('SELECT 1').catch(() => undefined));
  await query('CREATE TABLE jobs (done int, token bigint)');
  await query('INSERT INTO jobs VALUES (0, 0)');
}

async function jobs(): Promise<{ done: number; token: string }> {
  return (await query('SELECT done, token FROM jobs'))[0] as { done: number; token: string };
}

async function until<T>(look: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (;;) {
    const found = await look();
    if (found) return found;
    await setTimeout(50);
  }
}

// Servers of one's own for the chaos on engines: three nodes of etcd; a PostgreSQL primary with a standby that takes its
// place, and PgBouncer in front of whichever is the primary; a Redis primary with a replica that takes its place.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { accepts, configurePgBouncer, freePort, giveToServer, postgresBinaries, serverUser } from './server-tools.mjs';

/** What must be there; the first that is not, or undefined. */
export function missing() {
  if (postgresBinaries() === undefined) return 'PostgreSQL';
  for (const [name, ...args] of [
    ['etcd', '--version'],
    ['pgbouncer', '--version'],
    ['redis-server', '--version'],
  ])
    if (spawnSync(name, args).status !== 0) return name;
  return undefined;
}

async function until(look) {
  for (const end = performance.now() + 60_000; ; await setTimeout(50)) {
    if (await look()) return;
    if (performance.now() > end) throw new Error(`a server did not start: ${look}`);
  }
}

function childrenOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** A server process, which may be killed, stopped and started again. */
class Server {
  constructor(port, start) {
    this.port = port;
    this.start = () => {
      this.child = start();
    };
  }

  /** To all its processes: a machine that stops or dies has none that goes on. */
  signal(signal) {
    for (const pid of [this.child.pid, ...childrenOf(this.child.pid)]) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  async kill() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.signal('SIGKILL');
    await exit;
  }
}

export async function startEtcd() {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-etcd-'));
  const nodes = [];
  for (const name of ['a', 'b', 'c']) nodes.push({ name, client: await freePort(), peer: await freePort() });
  const url = (port) => `http://127.0.0.1:${port}`;
  const cluster = nodes.map(({ name, peer }) => `${name}=${url(peer)}`).join(',');
  const servers = nodes.map(({ name, client, peer }) => {
    const clients = ['--listen-client-urls', url(client), '--advertise-client-urls', url(client)];
    const peers = ['--listen-peer-urls', url(peer), '--initial-advertise-peer-urls', url(peer)];
    const args = ['--name', name, '--data-dir', join(folder, name), ...clients, ...peers, '--initial-cluster', cluster];
    return new Server(client, () => spawn('etcd', args, { cwd: folder, stdio: 'ignore' }));
  });
  for (const server of servers) server.start();
  const isHealthy = async ({ port }) => {
    const answer = await fetch(`${url(port)}/health`).catch(() => undefined);
    return answer?.ok === true;
  };
  for (const server of servers) await until(() => isHealthy(server));
  const end = async () => {
    await Promise.all(servers.map((server) => server.kill()));
    rmSync(folder, { recursive: true, force: true });
  };
  return { servers, end };
}

export async function startPostgres() {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-postgres-'));
  giveToServer(folder);
  const bin = postgresBinaries();
  const run = (name, ...args) =>
    execFileSync(join(bin, name), args, {
      ...serverUser(),
      cwd: folder,
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'utf8',
    });
  const psql = (port, text) => run('psql', '-h', '127.0.0.1', '-p', `${port}`, '-U', 'postgres', '-Atc', text).trim();
  const isReady = ({ port }) =>
    spawnSync(join(bin, 'pg_isready'), ['-h', '127.0.0.1', '-p', String(port)]).status === 0;
  let count = 0;
  const folderFor = () => {
    const data = join(folder, `data-${++count}`);
    mkdirSync(data);
    giveToServer(data);
    chmodSync(data, 0o700);
    return data;
  };
  const serverIn = async (data) => {
    const port = await freePort();
    const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', 'fsync=off', 'unix_socket_directories='];
    const args = ['-D', data, ...settings.flatMap((one) => ['-c', one])];
    const server = new Server(port, () =>
      spawn(join(bin, 'postgres'), args, { ...serverUser(), cwd: folder, stdio: 'ignore' }),
    );
    server.data = data;
    server.start();
    await until(() => isReady(server));
    return server;
  };
  const standbyOf = async (primary) => {
    const data = folderFor();
    const from = ['-h', '127.0.0.1', '-p', String(primary.port), '-U', 'postgres'];
    run('pg_basebackup', ...from, '-D', data, '-R', '-X', 'stream', '-c', 'fast');
    return serverIn(data);
  };

  const first = folderFor();
  run('initdb', '-D', first, '-A', 'trust', '-U', 'postgres', '--no-sync', '-E', 'UTF8');
  const pair = { primary: await serverIn(first), standby: undefined };
  pair.standby = await standbyOf(pair.primary);

  /** The primary is gone for good, or stopped; the standby takes its place, and gets a standby of its own. */
  const failOver = async (how) => {
    const old = pair.primary;
    if (how === 'kill') await old.kill();
    else old.signal('SIGSTOP');
    psql(pair.standby.port, 'SELECT pg_promote()');
    await until(() => psql(pair.standby.port, 'SELECT pg_is_in_recovery()') === 'f');
    pair.primary = pair.standby;
    return async () => {
      await old.kill();
      rmSync(old.data, { recursive: true, force: true });
      pair.standby = await standbyOf(pair.primary);
    };
  };
  const end = async () => {
    await Promise.all([pair.primary.kill(), pair.standby.kill()]);
    rmSync(folder, { recursive: true, force: true });
  };
  return { pair, failOver, psql, end };
}

/** By redis-cli. */
export const askRedis = ({ port }, ...words) =>
  spawnSync('redis-cli', ['-p', String(port), ...words], { encoding: 'utf8' }).stdout;

export async function runRedis(folder, ...settings) {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...settings];
  const server = new Server(port, () => spawn('redis-server', args, { stdio: 'ignore' }));
  server.start();
  await until(() => askRedis(server, 'PING').startsWith('PONG'));
  return server;
}

export async function startRedis() {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-redis-'));
  const debug = ['--enable-debug-command', 'yes'];
  const replicaOf = async (primary) => {
    const replica = await runRedis(folder, '--replicaof', '127.0.0.1', String(primary.port), ...debug);
    await until(() => askRedis(replica, 'INFO', 'replication').includes('master_link_status:up'));
    return replica;
  };
  const pair = { primary: await runRedis(folder, ...debug), replica: undefined };
  pair.replica = await replicaOf(pair.primary);

  /** The primary is gone for good, or stopped; the replica takes its place, and gets a replica of its own. */
  const failOver = async (how) => {
    const old = pair.primary;
    if (how === 'kill') await old.kill();
    else old.signal('SIGSTOP');
    askRedis(pair.replica, 'REPLICAOF', 'NO', 'ONE');
    pair.primary = pair.replica;
    return async () => {
      await old.kill();
      pair.replica = await replicaOf(pair.primary);
    };
  };
  /** Without data, and as a primary, whatever it was made as. */
  const restart = async (server) => {
    server.start();
    await until(() => askRedis(server, 'REPLICAOF', 'NO', 'ONE').startsWith('OK'));
  };
  const end = async () => {
    await Promise.all([pair.primary.kill(), pair.replica.kill()]);
    rmSync(folder, { recursive: true, force: true });
  };
  return { pair, failOver, restart, end };
}

/** In session mode, to a server at a port. */
export async function startPgBouncer(target) {
  const folder = mkdtempSync(join(tmpdir(), 'chaos-pgbouncer-'));
  const port = await freePort();
  const config = configurePgBouncer(folder, {
    port,
    target,
    mode: 'session',
    connections: 50,
    others: ['server_login_retry = 1'],
  });
  const server = new Server(port, () =>
    spawn('pgbouncer', [config], { ...serverUser(), cwd: folder, stdio: 'ignore' }),
  );
  server.start();
  await until(() => accepts(port));
  const end = async () => {
    await server.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  return { server, end };
}

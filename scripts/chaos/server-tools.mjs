// What tests and the chaos on engines need of the servers that they start: where they are, as which user, on which port.
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

/** Below these lie the ports that systems give to outgoing connections: from 32768, or from 49152. */
const [FIRST_PORT, LAST_PORT] = [10_000, 32_000];

/** Test files that run at the same time have ports of their own: one that is free now may be another's a moment later. */
const worker = Number(process.env.VITEST_POOL_ID ?? 0);
const WORKERS = 16;
/** Not given twice: the server that it was given for may not listen there yet, or be down for a while. */
const given = new Set();

/**
 * Not any free port, for that may go to an outgoing connection while a server of the test is down: a client that tries
 * to reach it might even be connected to itself.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(FIRST_PORT / WORKERS, LAST_PORT / WORKERS) * WORKERS + (worker % WORKERS);
    if (given.has(port)) continue;
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    given.add(port);
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Whether a server listens there. */
export function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Where Debian and others keep PostgreSQL's servers, which are not in the path. */
export function postgresBinaries() {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(base, version, 'bin')).find((folder) => existsSync(join(folder, 'initdb')));
}

/** PostgreSQL and PgBouncer refuse to run as root. */
export function serverUser() {
  if (process.getuid?.() !== 0) return {};
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** Makes files and folders that user's. */
export function giveToServer(...paths) {
  const { uid, gid } = serverUser();
  if (uid !== undefined && gid !== undefined) for (const path of paths) chownSync(path, uid, gid);
}

/** PgBouncer's configuration, in a folder, for a server at a port. Returns the file. */
export function configurePgBouncer(folder, { port, target, mode, connections, others = [] }) {
  const [config, users] = [join(folder, 'pgbouncer.ini'), join(folder, 'users.txt')];
  writeFileSync(users, '"postgres" ""\n');
  const lines = [
    '[databases]',
    `* = host=127.0.0.1 port=${target} user=postgres`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'auth_type = any',
    `auth_file = ${users}`,
    `pool_mode = ${mode}`,
    `default_pool_size = ${connections}`,
    'unix_socket_dir =',
    'ignore_startup_parameters = extra_float_digits',
    ...others,
  ];
  writeFileSync(config, lines.join('\n'));
  giveToServer(folder, config, users);
  return config;
}

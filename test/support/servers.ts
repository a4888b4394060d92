/** Real servers for the tests of engines, on free ports of the loopback, ended with the tests. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { isRoot } from './capabilities.js';
import { until } from './waiting.js';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Where Debian and others keep the servers that are not in the path. */
function binaries(): string | undefined {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(base, version, 'bin')).find((folder) => existsSync(join(folder, 'initdb')));
}

const bin = binaries();
export const hasPostgres = bin !== undefined;
export const hasPgBouncer = spawnSync('pgbouncer', ['--version']).status === 0;
export const hasEtcd = spawnSync('etcd', ['--version']).status === 0;

/** PostgreSQL refuses to run as root. */
function postgresUser(): { uid: number; gid: number } | Record<string, never> {
  if (!isRoot) return {};
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

export class PostgresServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fairlock-postgres-'));
  #process: ChildProcess | undefined;

  private constructor(readonly port: number) {}

  static async start(): Promise<PostgresServer> {
    const server = new PostgresServer(await freePort());
    const { uid, gid } = postgresUser();
    if (uid !== undefined && gid !== undefined) chownSync(server.#folder, uid, gid);
    const data = join(server.#folder, 'data');
    mkdirSync(data);
    if (uid !== undefined && gid !== undefined) chownSync(data, uid, gid);
    const args = ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync', '-E', 'UTF8'];
    execFileSync(join(bin ?? '', 'initdb'), args, { ...postgresUser(), cwd: server.#folder, stdio: 'ignore' });
    afterAll(async () => {
      await server.kill('SIGKILL');
      rmSync(server.#folder, { recursive: true, force: true });
    });
    await server.run();
    return server;
  }

  get url(): string {
    return `postgresql://postgres@127.0.0.1:${this.port}/postgres`;
  }

  async run(): Promise<void> {
    const settings = [`port=${this.port}`, 'listen_addresses=127.0.0.1', 'fsync=off', 'unix_socket_directories='];
    const args = ['-D', join(this.#folder, 'data'), ...settings.flatMap((one) => ['-c', one])];
    this.#process = spawn(join(bin ?? '', 'postgres'), args, {
      ...postgresUser(),
      cwd: this.#folder,
      stdio: 'ignore',
    });
    await until(() => accepts(this.port));
    // It accepts connections before it serves them.
    await until(
      () => spawnSync(join(bin ?? '', 'pg_isready'), ['-h', '127.0.0.1', '-p', String(this.port)]).status === 0,
    );
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

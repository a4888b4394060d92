/** Real servers for the tests of engines, on free ports of the loopback, ended with the tests. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  accepts,
  configurePgBouncer,
  freePort,
  giveToServer,
  postgresBinaries,
  serverUser,
} from '../../scripts/chaos/server-tools.mjs';
import { atFileEnd } from './ends.js';
import { needs } from './tools.js';
import { until } from './waiting.js';

export { freePort };

const bin = postgresBinaries();
export const hasPostgres = bin !== undefined;
export const hasPgBouncer = spawnSync('pgbouncer', ['--version']).status === 0;
export const hasEtcd = spawnSync('etcd', ['--version']).status === 0;
export const hasEtcdctl = spawnSync('etcdctl', ['version'], { env: { ...process.env, ETCDCTL_API: '3' } }).status === 0;

export class PostgresServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fairlock-postgres-'));
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    /** Of this machine, beside the loopback. */
    private readonly address: string | undefined,
  ) {}

  static async start(address?: string): Promise<PostgresServer> {
    const server = new PostgresServer(await freePort(), address);
    giveToServer(server.#folder);
    const data = join(server.#folder, 'data');
    mkdirSync(data);
    giveToServer(data);
    const args = ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync', '-E', 'UTF8'];
    execFileSync(join(bin ?? '', 'initdb'), args, { ...serverUser(), cwd: server.#folder, stdio: 'ignore' });
    if (address !== undefined) appendFileSync(join(data, 'pg_hba.conf'), `host all all ${address}/24 trust\n`);
    atFileEnd(async () => {
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
    const addresses = ['127.0.0.1', ...(this.address === undefined ? [] : [this.address])];
    const settings = [`port=${this.port}`, `listen_addresses=${addresses}`, 'fsync=off', 'unix_socket_directories='];
    const args = ['-D', join(this.#folder, 'data'), ...settings.flatMap((one) => ['-c', one])];
    const child = spawn(join(bin ?? '', 'postgres'), args, { ...serverUser(), cwd: this.#folder, stdio: 'ignore' });
    this.#process = child;
    await until(() => runs(child) && accepts(this.port));
    // It accepts connections before it serves them.
    const isReady = ['-h', '127.0.0.1', '-p', String(this.port)];
    await until(() => runs(child) && spawnSync(join(bin ?? '', 'pg_isready'), isReady).status === 0);
  }

  /** Who may connect, and how they prove it: the lines of pg_hba.conf. */
  admit(...lines: string[]): void {
    // By the file, since the lines may refuse psql.
    writeFileSync(join(this.#folder, 'data', 'pg_hba.conf'), `${lines.join('\n')}\n`);
    this.#process?.kill('SIGHUP');
  }

  /** From now on it offers TLS. Returns the certificate, which is its own authority. */
  async secure(certificate: Certificate = {}): Promise<Buffer> {
    const { cert, key } = makeCertificate(this.#folder, certificate);
    giveToServer(cert, key);
    chmodSync(key, 0o600);
    for (const [name, value] of Object.entries({ ssl_cert_file: cert, ssl_key_file: key, ssl: 'on' })) {
      this.psql(`ALTER SYSTEM SET ${name} = '${value}'`);
    }
    this.psql('SELECT pg_reload_conf()');
    await until(() => this.psql('SHOW ssl') === 'on');
    return readFileSync(cert);
  }

  /** A copy that follows this one, asynchronously. */
  async standby(): Promise<PostgresServer> {
    const standby = new PostgresServer(await freePort(), undefined);
    giveToServer(standby.#folder);
    const data = join(standby.#folder, 'data');
    const from = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres'];
    const args = [...from, '-D', data, '-R', '-X', 'stream', '-c', 'fast'];
    execFileSync(join(bin ?? '', 'pg_basebackup'), args, { ...serverUser(), cwd: standby.#folder, stdio: 'ignore' });
    atFileEnd(async () => {
      await standby.kill('SIGKILL');
      rmSync(standby.#folder, { recursive: true, force: true });
    });
    await standby.run();
    return standby;
  }

  /** Of a standby: what its primary does from now on does not reach it. */
  async stopFollowing(): Promise<void> {
    this.psql("ALTER SYSTEM SET primary_conninfo = ''");
    this.psql('SELECT pg_reload_conf()');
    await until(() => this.psql('SELECT count(*) FROM pg_stat_wal_receiver') === '0');
  }

  async promote(): Promise<void> {
    this.psql('SELECT pg_promote()');
    await until(() => this.psql('SELECT pg_is_in_recovery()') === 'f');
  }

  psql(text: string): string {
    const args = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres', '-Atc', text];
    return execFileSync(join(bin ?? '', 'psql'), args, { encoding: 'utf8' }).trim();
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }
}

/** @throws it has ended */
function runs(child: ChildProcess): boolean {
  const { exitCode, signalCode, spawnfile } = child;
  if (exitCode !== null || signalCode !== null) throw new Error(`${spawnfile} ended: ${exitCode ?? signalCode}`);
  return true;
}

interface Certificate {
  /** As OpenSSL writes subjectAltName. */
  readonly for?: string;
  /** How long it is valid; below 0 it has expired. */
  readonly days?: number;
}

/** A certificate that is its own authority, of 127.0.0.1 if nothing else is said. */
export function makeCertificate(
  folder: string,
  { for: name = 'IP:127.0.0.1', days = 1 }: Certificate,
): { cert: string; key: string } {
  const [key, request, extensions, cert] = ['key.pem', 'request.pem', 'extensions', 'cert.pem'].map((file) =>
    join(folder, file),
  ) as [string, string, string, string];
  needs('openssl');
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore' });
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', request, '-subj', '/CN=fairlock');
  writeFileSync(extensions, `subjectAltName=${name}\nbasicConstraints=critical,CA:TRUE\n`);
  const times = ['-days', String(days), '-extfile', extensions];
  openssl('x509', '-req', '-in', request, '-signkey', key, '-out', cert, ...times);
  return { cert, key };
}

/** One node of etcd. */
export class EtcdServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fairlock-etcd-'));
  #process: ChildProcess | undefined;
  #options: string[] = [];

  private constructor(
    readonly port: number,
    private readonly peerPort: number,
  ) {}

  /** @param options as on its command line */
  static async start(...options: string[]): Promise<EtcdServer> {
    const server = await EtcdServer.#make();
    server.#options = options;
    await server.run();
    return server;
  }

  static async startWithTls(certificate: Certificate = {}): Promise<{ url: string; ca: Buffer }> {
    const server = await EtcdServer.#make();
    const { cert, key } = makeCertificate(server.#folder, certificate);
    server.#options = ['--cert-file', cert, '--key-file', key];
    const child = server.#spawn();
    await until(() => runs(child) && accepts(server.port));
    return { url: server.url, ca: readFileSync(cert) };
  }

  static async #make(): Promise<EtcdServer> {
    const server = new EtcdServer(await freePort(), await freePort());
    atFileEnd(async () => {
      await server.kill('SIGKILL');
      rmSync(server.#folder, { recursive: true, force: true });
    });
    return server;
  }

  get url(): string {
    return `${this.#options.includes('--cert-file') ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  async run(): Promise<void> {
    const child = this.#spawn();
    await until(async () => {
      runs(child);
      const answer = await fetch(`${this.url}/health`).catch(() => undefined);
      return answer !== undefined && ((await answer.json()) as { health: string }).health === 'true';
    });
  }

  #spawn(): ChildProcess {
    const [client, peer] = [this.url, `http://127.0.0.1:${this.peerPort}`];
    const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer];
    const cluster = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`];
    const all = ['--data-dir', join(this.#folder, 'data'), ...urls, ...cluster, ...this.#options];
    this.#process = spawn('etcd', all, { cwd: this.#folder, stdio: 'ignore' });
    return this.#process;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  /** Writes until it is out of space, where it was started with a small `--quota-backend-bytes`. */
  async fill(): Promise<void> {
    const value = Buffer.alloc(20_000, 1).toString('base64');
    for (let i = 0; ; i++) {
      const body = JSON.stringify({ key: Buffer.from(`fill ${i}`).toString('base64'), value });
      const answer = await fetch(`${this.url}/v3/kv/put`, { method: 'POST', body });
      if (/space/.test(await answer.text())) return;
    }
  }

  ctl(...args: string[]): string {
    const env = { ...process.env, ETCDCTL_API: '3' };
    return execFileSync('etcdctl', ['--endpoints', this.url, ...args], { encoding: 'utf8', env });
  }
}

/** PgBouncer in front of a server, in a pool mode. */
export async function startPgBouncer(
  server: PostgresServer,
  mode: 'transaction' | 'session',
  connections = 20,
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-pgbouncer-'));
  const port = await freePort();
  const config = configurePgBouncer(folder, { port, target: server.port, mode, connections });
  const child = spawn('pgbouncer', [config], { ...serverUser(), cwd: folder, stdio: 'ignore' });
  atFileEnd(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  await until(() => runs(child) && accepts(port));
  return `postgresql://postgres@127.0.0.1:${port}/postgres`;
}

/** A server that says yes to every advisory lock and locks nothing, as CockroachDB did. */
export async function startYesServer(): Promise<string> {
  const message = (type: string, ...parts: Buffer[]): Buffer => {
    const body = Buffer.concat(parts);
    const head = Buffer.alloc(5);
    head.write(type, 0);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const text = (value: string): Buffer => Buffer.from(`${value}\0`);
  const int = (bytes: 2 | 4, value: number): Buffer => {
    const buffer = Buffer.alloc(bytes);
    if (bytes === 2) buffer.writeInt16BE(value);
    else buffer.writeInt32BE(value);
    return buffer;
  };
  let clients = 0;
  const server = createServer((socket) => {
    const pid = ++clients;
    let isStarted = false;
    let statement = '';
    const row = (values: Record<string, string>): Buffer => {
      const names = Object.keys(values);
      const fields = names.map((name) =>
        Buffer.concat([
          text(name),
          int(4, 0),
          int(2, 0),
          int(4, values[name] === 't' || values[name] === 'f' ? 16 : 23),
          int(2, 4),
          int(4, -1),
          int(2, 0),
        ]),
      );
      const data = Object.values(values).map((value) => Buffer.concat([int(4, value.length), Buffer.from(value)]));
      return Buffer.concat([
        message('T', int(2, names.length), ...fields),
        message('D', int(2, names.length), ...data),
      ]);
    };
    const answer = (): Buffer => {
      if (/pg_is_in_recovery/.test(statement)) return row({ standby: 'f', pid: String(pid) });
      if (/pg_try_advisory_lock/.test(statement)) return row({ granted: 't' });
      return row({ pid: String(pid) });
    };
    let rest: Buffer = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= (isStarted ? 5 : 4)) {
        const length = rest.readInt32BE(isStarted ? 1 : 0) + (isStarted ? 1 : 0);
        if (rest.length < length) return;
        const type = isStarted ? String.fromCharCode(rest[0] ?? 0) : 'start';
        const body = rest.subarray(isStarted ? 5 : 4, length);
        rest = rest.subarray(length);
        if (type === 'start') {
          isStarted = true;
          socket.write(
            Buffer.concat([
              message('R', int(4, 0)),
              message('K', int(4, pid), int(4, 1)),
              message('Z', Buffer.from('I')),
            ]),
          );
        } else if (type === 'Q' || type === 'P') {
          statement = body.toString('latin1');
          if (type === 'Q')
            socket.write(Buffer.concat([answer(), message('C', text('SELECT 1')), message('Z', Buffer.from('I'))]));
          else socket.write(message('1'));
        } else if (type === 'B') socket.write(message('2'));
        else if (type === 'D') continue;
        else if (type === 'E') socket.write(Buffer.concat([answer(), message('C', text('SELECT 1'))]));
        else if (type === 'S') socket.write(message('Z', Buffer.from('I')));
        else if (type === 'X') socket.end();
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atFileEnd(() => void server.close());
  return `postgresql://postgres@127.0.0.1:${(server.address() as { port: number }).port}/postgres`;
}

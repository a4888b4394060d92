/** A real Redis for tests, on a free port of the loopback, ended with the tests. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { atFileEnd } from './ends.js';
import { freePort, makeCertificate } from './servers.js';
import { until } from './waiting.js';

export const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

export class RedisServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fairlock-redis-'));
  #process: ChildProcess | undefined;

  private constructor(readonly port: number) {}

  static async start(...settings: string[]): Promise<RedisServer> {
    const server = await RedisServer.#make();
    await server.run(...settings);
    return server;
  }

  static async #make(): Promise<RedisServer> {
    const server = new RedisServer(await freePort());
    atFileEnd(async () => {
      await server.kill();
      rmSync(server.#folder, { recursive: true, force: true });
    });
    return server;
  }

  /** By TLS, with a certificate that is its own authority. */
  static async startWithTls(): Promise<string> {
    const [server, port] = [await RedisServer.start(), await freePort()];
    const { cert, key } = makeCertificate(server.#folder, {});
    await server.kill();
    const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
    await server.run('--tls-port', String(port), ...files, '--tls-auth-clients', 'no');
    return `rediss://127.0.0.1:${port}`;
  }

  /**
   * The port where programs ask which server is the primary of `main`. When that does not answer for a second its replica
   * takes its place.
   */
  static async startSentinel(primary: RedisServer): Promise<number> {
    const sentinel = await RedisServer.#make();
    const file = join(sentinel.#folder, 'sentinel.conf');
    const settings = [
      `monitor main 127.0.0.1 ${primary.port} 1`,
      ...['down-after-milliseconds main 1000', 'failover-timeout main 3000'],
    ];
    const lines = [`port ${sentinel.port}`, 'bind 127.0.0.1', ...settings.map((one) => `sentinel ${one}`)];
    writeFileSync(file, lines.join('\n'));
    sentinel.#process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    // It hears of the replica from the primary, and takes none that it has not seen to be connected.
    await until(() => /master-link-status\nok/.test(sentinel.ask('SENTINEL', 'replicas', 'main')));
    return sentinel.port;
  }

  /** Of so many primaries, each with a replica, or without. */
  static async startCluster({ primaries, replicas }: { primaries: number; replicas: 0 | 1 }): Promise<RedisServer[]> {
    const start = async (): Promise<{ node: RedisServer; address: string }> => {
      // By itself it takes its port plus 10 000 for the other nodes, which may be another server's, or too high.
      const bus = await freePort();
      const settings = ['--cluster-node-timeout', '1000', '--cluster-port', String(bus)];
      const node = await RedisServer.start('--cluster-enabled', 'yes', ...settings);
      return { node, address: `127.0.0.1:${node.port}@${bus}` };
    };
    const count = primaries * (1 + replicas);
    const started = await Promise.all(Array.from({ length: count }, start));
    const nodes = started.map(({ node }) => node);
    const addresses = started.map(({ address }) => address);
    nodes[0]?.ask('--cluster', 'create', ...addresses, '--cluster-replicas', String(replicas), '--cluster-yes');
    for (const node of nodes) await until(() => /cluster_state:ok/.test(node.ask('CLUSTER', 'INFO')));
    return nodes;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async run(...settings: string[]): Promise<void> {
    const args = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--save', ''];
    this.#process = spawn('redis-server', [...args, ...settings], { stdio: 'ignore' });
    await until(() => this.ask('PING') === 'PONG');
  }

  /** By redis-cli. */
  ask(...words: string[]): string {
    const { stdout } = spawnSync('redis-cli', ['-p', String(this.port), ...words], { encoding: 'utf8' });
    return stdout.trim();
  }

  /** The same beside clients of this process, which have their leases to renew meanwhile. */
  async askBeside(...words: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('redis-cli', ['-p', String(this.port), ...words]);
    return stdout.trim();
  }

  stop(): void {
    this.#process?.kill('SIGSTOP');
  }

  goOn(): void {
    this.#process?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    child.kill('SIGCONT');
    await ended;
  }
}

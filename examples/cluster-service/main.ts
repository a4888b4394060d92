// A node:cluster HTTP service whose workers agree by fairlock: npm run example:cluster
// The primary forks the workers, replaces those that die and, to show what happens then, kills the leader now and then:
//   main.ts [--port 8080] [--workers 4] [--kill-every 2000] [--rounds 0 (for ever)]
import cluster, { type Worker } from 'node:cluster';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { LeaderElection } from 'fairlock/cluster';
import { serve } from './service.js';
import { Store } from './store.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    workers: { type: 'string', default: '4' },
    'kill-every': { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '0' },
  },
});

if (cluster.isPrimary) await primary();
else await serve(process.env.SERVICE_FOLDER as string, Number(process.env.SERVICE_PORT));

async function primary(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cluster-service-'));
  const start = performance.now();
  const say = (text: string): void => console.log(`${((performance.now() - start) / 1000).toFixed(3)} s  ${text}`);
  let ending = false;
  const fork = (): Worker => cluster.fork({ SERVICE_FOLDER: folder, SERVICE_PORT: values.port });
  const end = (): void => {
    ending = true;
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM');
  };

  let listening = false;
  cluster.on('message', (_worker, message: { listening?: number }) => {
    if (message.listening === undefined || listening) return;
    listening = true;
    say(`listening on http://localhost:${message.listening}/`);
  });
  cluster.on('exit', (worker, code, signal) => {
    say(`worker ${worker.process.pid} ended (${signal ?? code})`);
    if (!ending) fork();
  });
  process.once('SIGINT', end).once('SIGTERM', end);
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (let i = 0; i < Number(values.workers); i++) fork();

  // An onlooker: it never stands for election.
  const election = new LeaderElection(join(folder, 'leader.lock'));
  const store = new Store(join(folder, 'store.json'));
  for (let round = 1, shown = 0; !ending; ) {
    const leader = election.leader();
    if (leader === null || leader.token === shown) {
      await setTimeout(1);
      continue;
    }
    shown = leader.token;
    say(`worker ${leader.pid} leads with token ${leader.token}`);
    const wait = Number(values['kill-every']);
    if (wait === 0) continue;
    await setTimeout(wait);
    if (ending) break;
    if (round++ === Number(values.rounds)) return end();
    say(`${store.read().jobs} jobs so far; kill -9 ${leader.pid}`);
    process.kill(leader.pid, 'SIGKILL');
  }
}

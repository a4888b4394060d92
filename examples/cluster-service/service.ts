// One worker of the service. All that the workers agree on goes through lock files in one folder: the primary does
// nothing.
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { InterProcessSemaphore } from 'fairlock';
import { LeaderElection, runOnce } from 'fairlock/cluster';
import { StaleTokenError, Store } from './store.js';

const RELEASE = 'release 1';

export async function serve(folder: string, port: number): Promise<void> {
  const inFolder = (name: string): string => join(folder, name);

  // Once per release, by whichever worker comes first; the others wait for it and get its outcome.
  const migration = await runOnce(
    inFolder('migration.lock'),
    () => {
      appendFileSync(inFolder('migrations.log'), `${RELEASE} by ${process.pid}\n`);
      return { release: RELEASE, by: process.pid };
    },
    { key: RELEASE },
  );

  // One of the workers does the periodic job. Where it dies, the next one goes on.
  const election = new LeaderElection(inFolder('leader.lock'));
  const store = new Store(inFolder('store.json'));
  const lead = async (): Promise<void> => {
    for await (const { token, signal } of election) {
      while (!signal.aborted) {
        await store.recordJob(token);
        await setTimeout(50, undefined, { signal }).catch(() => {});
      }
    }
  };
  lead().catch((error) => {
    console.error(error);
    process.exit(1);
  });

  // Rendering a report needs much memory: two at a time on the whole machine, however many workers there are.
  const renderers = new InterProcessSemaphore(inFolder('renderers.lock'), { permits: 2, fairness: 'auto' });
  const rendering = inFolder('rendering');
  mkdirSync(rendering, { recursive: true });
  const report = (): Promise<object> =>
    renderers.withPermit(async () => {
      const mark = join(rendering, `${process.pid}-${Math.random()}`);
      writeFileSync(mark, '');
      await setTimeout(20);
      const together = readdirSync(rendering).length;
      rmSync(mark);
      return { pid: process.pid, together };
    });

  const status = () => ({
    pid: process.pid,
    isLeader: election.isLeader,
    leader: election.leader(),
    store: store.read(),
    migration,
  });

  const answer = async (url: string | undefined, response: ServerResponse): Promise<void> => {
    if (url === '/status') return json(response, 200, status());
    if (url === '/report') return json(response, 200, await report());
    // What a leader that was stopped for too long would try.
    if (url === '/stale') {
      const refusal = await store.recordJob(1).catch((error: unknown) => error);
      return json(response, refusal instanceof StaleTokenError ? 409 : 500, { message: String(refusal) });
    }
    if (url === '/') return page(response, status());
    json(response, 404, { message: 'there are /, /status, /report and /stale' });
  };
  const server = createServer((request, response) => {
    answer(request.url, response).catch((error: unknown) => json(response, 500, { message: String(error) }));
  });
  server.listen(port, () => process.send?.({ listening: (server.address() as { port: number }).port }));

  // A rolling restart: the leader hands over before it goes, and no candidate waits for a lease to run out.
  process.once('SIGTERM', () => {
    election.close();
    server.close(() => process.exit());
    server.closeAllConnections();
  });
}

function json(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function page(
  response: ServerResponse,
  { pid, leader, store, migration }: { pid: number; leader: object | null; store: object; migration: object },
): void {
  const rows = Object.entries({ 'served by': pid, leader, 'last job': store, migration });
  const cells = rows.map(([name, value]) => `<tr><th>${name}<td><code>${JSON.stringify(value)}</code>`).join('');
  const html = `<!doctype html><title>cluster-service</title><meta http-equiv=refresh content=1><table>${cells}</table>`;
  response.writeHead(200, { 'content-type': 'text/html' }).end(html);
}

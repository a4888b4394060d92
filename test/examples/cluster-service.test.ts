import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Leader } from '../../src/cluster/index.js';
import { hasParking } from '../support/capabilities.js';
import { linkInto } from '../support/package.js';
import { root, testFolder } from '../support/paths.js';
import { run } from '../support/programs.js';
import { isSoak, rounds } from '../support/scale.js';
import { freePort } from '../support/servers.js';
import { until } from '../support/waiting.js';

const main = join(root, 'examples/cluster-service/main.ts');
const { folder, path } = testFolder();

interface Status {
  pid: number;
  isLeader: boolean;
  leader: Leader | null;
  store: { token: number; jobs: number; by: number };
  migration: { release: string; by: number };
}

describe.runIf(hasParking)('the cluster service', () => {
  let service: ChildProcess;
  let address: string;

  beforeAll(async () => {
    // As one file: each worker that is replaced would take longer to compile than to start.
    linkInto(folder);
    const outfile = path('service.mjs');
    await build({ entryPoints: [main], outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external' });
    service = spawn(process.execPath, [outfile, '--port', `${await freePort()}`, '--kill-every', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface(service.stdout as NodeJS.ReadableStream)) {
      address = /listening on (\S+)/.exec(line)?.[1] ?? '';
      if (address !== '') break;
    }
  });

  afterAll(async () => {
    const exited = once(service, 'exit');
    service.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
  });

  /** A connection that goes to a worker which is being killed may never be answered: then another one is tried. */
  const get = async (path: string): Promise<Response> =>
    until(() => fetch(`${address}${path}`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined));
  const status = async (): Promise<Status> =>
    until(async () => (await get('status')).json().catch(() => undefined)) as Promise<Status>;
  const whenLed = (): Promise<Status> =>
    until(async () => {
      const seen = await status();
      return seen.leader !== null && seen.store.token === seen.leader.token && seen;
    });

  it('has one leader, whose token the store has seen, and one migration', async () => {
    const { leader, store, migration } = await whenLed();
    expect(store.by).toBe(leader?.pid);
    expect(migration.release).toBe('release 1');
    expect(await (await get('')).text()).toContain(String(leader?.pid));
  });

  it('goes on when its leader is killed, with a greater token; the old one is refused', async () => {
    for (let kills = 0; kills < rounds(2, 3); kills++) {
      const before = await whenLed();
      process.kill(before.leader?.pid as number, 'SIGKILL');
      const after = await until(async () => {
        const seen = await whenLed();
        return seen.leader?.pid !== before.leader?.pid && seen;
      });
      expect(after.leader?.token).toBeGreaterThan(before.leader?.token as number);
      expect(after.store.jobs).toBeGreaterThan(before.store.jobs);
      expect(after.migration).toEqual(before.migration);
      expect((await get('stale')).status).toBe(409);
    }
  });

  it('renders at most two reports at a time', async () => {
    const reports = await Promise.all(
      Array.from({ length: 12 }, async () => (await get('report')).json() as Promise<{ together: number }>),
    );
    expect(Math.max(...reports.map(({ together }) => together))).toBeLessThanOrEqual(2);
  });
});

// Not by `npm run`: that builds dist anew, under the tests that run beside this one.
it.runIf(hasParking && isSoak)('the service kills its leaders and says what happens', async () => {
  const { stdout, stderr, code } = await run(process.execPath, [
    '--import',
    'tsx',
    main,
    '--port',
    `${await freePort()}`,
    '--kill-every',
    '300',
    '--rounds',
    '3',
  ]);
  expect([code, stderr]).toEqual([0, '']);
  const said = stdout.split('\n').map((line) => line.replace(/^\S+ s {2}/, ''));
  const leads = said.filter((line) => line.includes(' leads with token '));
  expect(leads.length).toBe(3);
  expect(said.filter((line) => line.includes('kill -9')).length).toBe(2);
  expect(said.filter((line) => line.includes('(SIGKILL)')).length).toBe(2);
});

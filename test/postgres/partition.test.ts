// A holder in a network of its own, which is cut: nothing is acknowledged any more, as by no proxy on the way.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, it } from 'vitest';
import { PostgresLocks } from '../../src/postgres/index.js';
import { hasNetworks } from '../support/capabilities.js';
import { program, track } from '../support/programs.js';
import { isSoak } from '../support/scale.js';
import { hasPostgres, PostgresServer } from '../support/servers.js';
import { until } from '../support/waiting.js';

const space = `fairlock-${process.pid}`;
const [outside, inside] = [`fp${process.pid}o`, `fp${process.pid}i`];
const network = `10.214.${process.pid % 250}`;
const ip = (...words: string[]): void => void execFileSync('ip', words, { stdio: 'pipe' });
const LOCKS = 20;

// It takes what the server needs to notice it, thirteen seconds.
describe.runIf(isSoak && hasPostgres && hasNetworks)('a partition (needs PostgreSQL, network namespaces, root)', () => {
  afterAll(() => {
    spawnSync('ip', ['link', 'del', outside]);
    spawnSync('ip', ['netns', 'del', space]);
  });

  it('the signal of the holder comes at least a second before the next grant, 20 of 20', async () => {
    ip('netns', 'add', space);
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', space);
    ip('addr', 'add', `${network}.1/24`, 'dev', outside);
    ip('link', 'set', outside, 'up');
    ip('-n', space, 'addr', 'add', `${network}.2/24`, 'dev', inside);
    ip('-n', space, 'link', 'set', inside, 'up');
    const server = await PostgresServer.start(`${network}.1`);
    const url = `postgresql://postgres@${network}.1:${server.port}/postgres`;
    const words = [process.execPath, program('postgres-partitioned.mjs'), url, 'partitioned', String(LOCKS)];
    const holder = track(spawn('ip', ['netns', 'exec', space, ...words], { stdio: ['ignore', 'pipe', 'inherit'] }));
    const told: string[] = [];
    createInterface(holder.stdout).on('line', (line) => told.push(line));
    await until(() => told.includes('holding'));

    const locks = new PostgresLocks({ connectionString: server.url, lossAfter: 5000, maxConnections: LOCKS + 5 });
    const grants = Array.from({ length: LOCKS }, async (_, i) => {
      const handle = await locks.lock(`partitioned ${i}`).acquire();
      const granted = process.hrtime.bigint();
      await handle.release();
      return granted;
    });
    await until(async () => (await locks.inspect(`partitioned ${LOCKS - 1}`)).waiters.length === 1);
    ip('link', 'set', outside, 'down');
    const granted = await Promise.all(grants);
    const lost = await until(() => {
      const lines = told.filter((line) => line.startsWith('lost ')).map((line) => line.split(' '));
      return lines.length === LOCKS && new Map(lines.map(([, i, at]) => [Number(i), BigInt(at as string)]));
    });
    expect(granted.filter((at, i) => at - (lost.get(i) ?? at) < 1_000_000_000n)).toEqual([]);
    await locks.close();
  });
});

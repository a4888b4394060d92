import { expect, it } from 'vitest';
import { hasNetworks } from '../support/capabilities.js';
import { root } from '../support/paths.js';
import { run } from '../support/programs.js';
import { isSoak } from '../support/scale.js';
import { hasEtcd, hasPostgres } from '../support/servers.js';

// It takes what a lease takes to run out, five seconds, and starts two servers and two programs.
it.runIf(isSoak && hasNetworks && hasEtcd && hasPostgres)(
  'when the network of the leader is cut, it knows before the other machine leads, and its token is refused from then on',
  async () => {
    const { stdout, stderr } = await run(`${root}node_modules/.bin/tsx`, [`${root}examples/two-machines.ts`]);
    expect(stderr).toBe('');
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => line.replace(/^[\d.]+ s +/, ''));
    const first = /machine (.) is cut/.exec(stdout)?.[1] ?? '';
    const second = first === 'a' ? 'b' : 'a';
    const at = (start: string): number => lines.findIndex((line) => line.startsWith(start));
    const order = [
      `machine ${first} leads, with token`,
      `the network of machine ${first} is cut`,
      `machine ${first} leads no more`,
      `machine ${second} leads, with token`,
      `the network of machine ${first} is back`,
    ].map(at);
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(order[0]).toBeGreaterThanOrEqual(0);
    expect(lines.at(-1)).toMatch(/\d+ jobs are done; the token of the store has not gone back/);
  },
);

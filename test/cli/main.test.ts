import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLI, root } from '../support/paths.js';
import { run } from '../support/programs.js';
import { some } from '../support/scale.js';

const fairlock = (...args: string[]) => run(process.execPath, [CLI, ...args]);

describe('fairlock', () => {
  let overview = '';
  beforeAll(async () => {
    overview = (await fairlock('--help')).stdout;
  });

  it.each(some(['run', 'status', 'trace', 'locked', 'gc', 'doctor', 'wrapper', 'postgres-schema'], 4))(
    'help %s fits a screen, and is what --help says',
    async (command) => {
      const { code, stdout, stderr } = await fairlock('help', command);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout.split('\n').length).toBeLessThanOrEqual(35);
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
      expect((await fairlock(command, '--help')).stdout).toBe(stdout);
      expect(overview).toContain(`\n  ${command} `);
    },
  );

  it('tells its version', async () => {
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
    for (const flag of ['-V', '--version']) expect((await fairlock(flag)).stdout).toBe(`${version}\n`);
  });

  it.each(some([[[]], [['nonsense']], [['status', '--nonsense']], [['gc']], [['doctor', 'a', 'b']]]))(
    '%j is wrong usage',
    async (args) => {
      const { code, stdout, stderr } = await fairlock(...args);
      expect([code, stdout]).toEqual([64, '']);
      expect(stderr).not.toBe('');
    },
  );

  it('carries the licences of what it includes', () => {
    const licences = readFileSync(`${root}dist/cli/LICENSES.txt`, 'utf8');
    for (const name of ['commander', 'cli-table3', 'string-width']) expect(licences).toContain(`${name}\n`);
  });
});

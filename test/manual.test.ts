/** The manual page, as the package has it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLI, root } from './support/paths.js';
import { run } from './support/programs.js';

const page = join(root, 'dist', 'fairlock.1');
const hasMandoc = spawnSync('mandoc', ['-T', 'lint', '/dev/null']).error === undefined;

describe('the manual page', () => {
  it('is the one that package.json names, and has every command that help has', async () => {
    const { man } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(join(root, man)).toBe(page);
    const { stdout } = await run(process.execPath, [CLI, 'help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z-]+) /gm)]
      .map(([, name]) => name)
      .filter((name) => name !== 'help' && !name?.startsWith('-'));
    expect(commands).toContain('run');
    const text = readFileSync(page, 'utf8').replaceAll('\\-', '-');
    for (const command of commands) expect(text).toContain(`.SS fairlock ${command}\n`);
  });

  it.runIf(hasMandoc)('is well formed', () => {
    const { stdout } = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', page], { encoding: 'utf8' });
    expect(stdout.split('\n').filter((line) => line !== '' && !line.includes('missing date'))).toEqual([]);
  });
});

import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { testFolder } from '../support/paths.js';
import { runProgram } from '../support/programs.js';
import { rounds } from '../support/scale.js';

/**
 * Main thread and Workers lock at the same time, `rounds` times anew: in a process of its own, since what is feared is
 * its death.
 */
describe('Workers', () => {
  const { path } = testFolder();
  const TIMES = rounds(3, 20);

  async function together(options: object, rounds: number): Promise<{ counter: string; problems: string[] }> {
    const [file, counter] = [path(), path()];
    writeFileSync(counter, '0');
    const all = { path: file, counter, options, count: 2, times: 10, rounds, mainToo: true };
    const ran = await runProgram('many-workers.mjs', [JSON.stringify(all)], { NODE_NO_WARNINGS: '1' });
    expect([ran.code, ran.signal, ran.stderr]).toEqual([0, null, '']);
    expect(readFileSync(counter, 'utf8')).toBe(JSON.parse(ran.stdout).counter);
    return JSON.parse(ran.stdout);
  }

  it('start, lock and end beside a main thread that locks, again and again, and the process lives', async () => {
    // Where the two threads come to different mechanisms they refuse rather than both hold.
    const { counter, problems } = await together({}, TIMES);
    expect(problems).toEqual(counter === String(30 * TIMES) ? [] : ['ERR_LOCK_MISMATCH']);
  });

  it('exclude the main thread with the lockfile', async () => {
    const times = rounds(2, 3);
    expect(await together({ mechanism: 'lockfile' }, times)).toEqual({ counter: String(30 * times), problems: [] });
  });
});

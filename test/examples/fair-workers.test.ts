import { expect, it } from 'vitest';
import { root } from '../support/paths.js';
import { run } from '../support/programs.js';

it('the program of 2017 prints the round robin, without and with yielding', async () => {
  const { stdout, stderr } = await run(`${root}node_modules/.bin/tsx`, [`${root}examples/fair-workers.ts`]);
  const rounds = [1, 2, 3, 4].flatMap((job) => [0, 1, 2, 3].map((index) => `worker=${index}: ${job}`));
  expect(stderr).toBe('');
  expect(stdout.trim().split('\n')).toEqual(['without yielding', ...rounds, 'with yielding', ...rounds]);
});

/** Other runtimes than Node. FAIRLOCK_BUN names Bun's program; .ci/run fetches it. */
import { describe, expect, it } from 'vitest';
import { hasFlock } from './support/capabilities.js';
import { testFolder } from './support/paths.js';
import { isFreeForFlock, program, run } from './support/programs.js';
import { needs } from './support/tools.js';

const { path } = testFolder();
const bun = process.env.FAIRLOCK_BUN;

describe.runIf(hasFlock && bun !== undefined)('Bun', () => {
  it('a Worker that ends holds nothing on', async () => {
    needs('flock');
    const file = path();
    const { stdout, stderr, code } = await run(bun as string, [program('ending-worker.mjs'), file]);
    expect([stderr, stdout, code]).toEqual(['', 'held by the Worker\nfree after it\n', 0]);
    expect(isFreeForFlock(file)).toBe(true);
  });
});

describe.runIf(hasFlock)('Node', () => {
  it('a Worker that ends holds nothing on', async () => {
    needs('flock');
    const { stdout, stderr, code } = await run(process.execPath, [program('ending-worker.mjs'), path()]);
    expect([stderr, stdout, code]).toEqual(['', 'held by the Worker\nfree after it\n', 0]);
  });
});

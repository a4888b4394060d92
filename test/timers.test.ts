import { describe, expect, it } from 'vitest';
import { hasFlock } from './support/capabilities.js';
import { testFolder } from './support/paths.js';
import { runProgram } from './support/programs.js';
import { needs } from './support/tools.js';

const { path } = testFolder();

describe.runIf(hasFlock)('timers', () => {
  it('that are numbers break no lock', async () => {
    needs('flock');
    const { stdout, stderr } = await runProgram('numeric-timers.mjs', [path()]);
    expect([stderr, stdout]).toEqual(['', 'true ERR_LOCK_TIMEOUT true\n'.repeat(3)]);
  });

  it('that are faked when the library is first used do not stop its housekeeping', async () => {
    const { stdout, stderr } = await runProgram('faked-timers.mjs', [path()]);
    expect([stderr, stdout]).toEqual(['', '1\nclosed\n']);
  });
});

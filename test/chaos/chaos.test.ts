import { describe, expect, it } from 'vitest';
import { hasFcntl } from '../support/capabilities.js';
import { root } from '../support/paths.js';
import { run } from '../support/programs.js';
import { isSoak, rounds } from '../support/scale.js';
import { needs } from '../support/tools.js';

// Longer than other tests: faults of this kind are found by time.
describe.runIf(hasFcntl)(
  'processes, Workers, Python and flock(1), killed, stopped and aborted, their files removed and their disk full',
  () => {
    it('every promise is kept', async () => {
      needs('flock', 'python3');
      const chaos = `${root}scripts/chaos/chaos.mjs`;
      // In the suite the tests beside it need the processors too.
      const scale = ['--seconds', String(rounds(30, 120)), ...(isSoak ? [] : ['--calm'])];
      const { code, stdout } = await run(process.execPath, [chaos, '--quiet', ...scale]);
      expect([code, stdout]).toEqual([0, '']);
    }, 300_000);
  },
);

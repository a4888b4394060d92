import { describe, expect, it } from 'vitest';
import { hasFcntl } from '../support/capabilities.js';
import { run } from '../support/programs.js';
import { rounds } from '../support/scale.js';

// Longer than other tests: faults of this kind are found by time.
describe.runIf(hasFcntl)(
  'processes, Workers, Python and flock(1), killed, stopped and aborted, their files removed and their disk full',
  () => {
    it('every promise is kept', async () => {
      const chaos = new URL('../../scripts/chaos/chaos.mjs', import.meta.url).pathname;
      const seconds = String(rounds(30, 120));
      // It takes the time that the tests beside it leave.
      const { code, stdout } = await run('nice', [process.execPath, chaos, '--quiet', '--seconds', seconds]);
      expect([code, stdout]).toEqual([0, '']);
    }, 300_000);
  },
);

import { expect, it } from 'vitest';
import { hasFlock } from '../support/capabilities.js';
import { root } from '../support/paths.js';
import { run } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

it.runIf(isSoak)('counts waits, holds and cancellations for OpenTelemetry', async () => {
  const { stdout, stderr } = await run(`${root}node_modules/.bin/tsx`, [`${root}examples/metrics.ts`]);
  // Without a native layer there is a warning of that.
  expect(hasFlock ? stderr : '').toBe('');
  expect(stdout.trim().split('\n').sort()).toEqual(
    ['ERR_LOCK_TIMEOUT', 'fairlock.hold 9 times', 'fairlock.wait 9 times', 'fairlock.waiting 0'].sort(),
  );
});

import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { SkippedReporter } from './test/support/skipped.js';

const report = process.env.VITEST_REPORT;

/** Files that mostly wait begin first: one that began last would be waited for by idle processors. */
class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const waits = (file: TestSpecification): boolean =>
      /(chaos|delays|etcd\/index|postgres\/index)\.test/.test(file.moduleId);
    const sorted = await super.sort(files);
    return [...sorted.filter(waits), ...sorted.filter((file) => !waits(file))];
  }
}

export default defineConfig({
  // Node 20 knows neither `using` nor decorators.
  oxc: { target: 'es2022' },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    sequence: { sequencer: WaitingFirst },
    // A file finds what the ones before it in its process have left: nothing, or it is a fault.
    isolate: false,
    setupFiles: ['test/support/clean-up.ts'],
    // Most tests wait for other processes, and some for a heartbeat or a second: three at a time keep two processors busy.
    maxWorkers: 3,
    // A state that does not come fails after 45 s, with its place: see test/support/waiting.ts.
    testTimeout: process.env.FAIRLOCK_SOAK === '1' ? 300_000 : 60_000,
    hookTimeout: 60_000,
    execArgv: ['--expose-gc'],
    includeTaskLocation: true, // For the reasons of what is skipped.
    reporters: ['default', new SkippedReporter(), ...(report === undefined ? [] : ['json'])],
    ...(report !== undefined && { outputFile: { json: report } }),
  },
});

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { isPart, isSoak } from './test/support/scale.js';
import { SkippedReporter } from './test/support/skipped.js';

const report = process.env.VITEST_REPORT;

/** Files that mostly wait begin first: one that began last would be waited for by idle processors. */
class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const waits = (file: TestSpecification): boolean =>
      /(chaos|delays|etcd\/index|postgres\/index|platforms|bundlers)\.test/.test(file.moduleId);
    const sorted = await super.sort(files);
    return [...sorted.filter(waits), ...sorted.filter((file) => !waits(file))];
  }
}

/**
 * Those with a long form: what has none is not run by the soak, since the suite has just done it. In part: those of
 * whose tests many have one.
 */
function withLongForm(): string[] {
  const tests = readdirSync('test', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.ts'));
  const hasOne = (file: string): boolean => {
    const whole = readFileSync(file, 'utf8');
    const text = whole.slice(whole.lastIndexOf('\nimport '));
    const count = (what: RegExp): number => text.match(what)?.length ?? 0;
    const long = count(/\b(rounds|some)\(|\bisSoak\b(?!.* from )/g);
    return isPart ? long * 4 >= count(/^\s*it[.(]/gm) && long > 0 : /support\/scale|\/suites\//.test(whole);
  };
  return tests.map((file) => join('test', file)).filter(hasOne);
}

export default defineConfig({
  // Node 20 knows neither `using` nor decorators.
  oxc: { target: 'es2022' },
  test: {
    include: isSoak ? withLongForm() : ['test/**/*.test.ts'],
    pool: 'forks',
    sequence: { sequencer: WaitingFirst },
    // A file finds what the ones before it in its process have left: nothing, or it is a fault.
    isolate: false,
    setupFiles: ['test/support/clean-up.ts'],
    // Most tests wait for other processes, and some for a heartbeat or a second: three at a time keep two processors busy.
    maxWorkers: 3,
    // A state that does not come fails after 45 s, with its place: see test/support/waiting.ts.
    testTimeout: isSoak ? 300_000 : 60_000,
    hookTimeout: 60_000,
    execArgv: ['--expose-gc'],
    includeTaskLocation: true, // For the reasons of what is skipped.
    reporters: ['default', new SkippedReporter(), ...(report === undefined ? [] : ['json'])],
    ...(report !== undefined && { outputFile: { json: report } }),
  },
});

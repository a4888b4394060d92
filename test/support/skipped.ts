/** Tells at the end of a run what was left out, and what it would have needed: `skipped: 14 need etcdctl`. */
import { readFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node';
import { isSoak } from './scale.js';

/** The words of a condition, in the words of one who wants to mend it. */
const MEANING: Record<string, string> = {
  isSoak: 'the soak (npm run soak)',
  hasFlock: 'a native layer',
  hasParking: 'the addon',
  hasFcntl: 'the addon',
  isRoot: 'root',
  hasNamespaces: 'root and unshare(1)',
  canMount: 'root that may mount',
  hasNetworks: 'root and ip(8)',
  hasReference: 'flock(1)',
  hasPython: 'python3',
  hasWitness: 'env --block-signal',
  hasEtcd: 'etcd',
  hasEtcdctl: 'etcdctl',
  hasPostgres: 'PostgreSQL',
  hasPgBouncer: 'PgBouncer',
  hasRedis: 'redis-server',
  hasStrace: 'strace',
  hasMandoc: 'mandoc',
  found: 'a browser',
  bun: 'Bun (FAIRLOCK_BUN)',
  preload: 'a C compiler',
  lying: 'a C compiler',
  failing: 'a C compiler',
  bigTls: 'a C compiler',
};

export class SkippedReporter implements Reporter {
  readonly #lines = new Map<string, string[]>();

  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = new Map<string, number>();
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const result = test.result();
        const note = result.state === 'skipped' ? result.note : undefined;
        const need = note ?? this.#need(test, module.moduleId);
        counts.set(need, (counts.get(need) ?? 0) + 1);
      }
    }
    for (const [need, count] of [...counts].sort(([, a], [, b]) => b - a))
      console.log(`skipped: ${count} need ${need}`);
  }

  /** By the condition of the test, or of what it is in. */
  #need(test: TestCase, file: string): string {
    for (let one: TestCase | TestSuite | TestModule = test; one.type !== 'module'; one = one.parent) {
      const line = this.#linesOf(file)[(one.location?.line ?? 0) - 1] ?? '';
      const [, condition] = /\.(?:runIf|skipIf)\((.*)/.exec(line) ?? [];
      const words = new Set((condition?.match(/\w+/g) ?? []).flatMap((word) => MEANING[word] ?? []));
      if (words.has(MEANING.isSoak as string) && !isSoak) return MEANING.isSoak as string;
      if (words.size > 0) return [...words].join(' and ');
    }
    return `what ${file.replace(/^.*\/test\//, 'test/')} says`;
  }

  #linesOf(file: string): string[] {
    const lines = this.#lines.get(file) ?? readFileSync(file, 'utf8').split('\n');
    this.#lines.set(file, lines);
    return lines;
  }
}

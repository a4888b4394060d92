/** Programs that some tests talk to: a test that needs one which is not there is skipped, and says so (see skipped.ts). */
import { spawnSync } from 'node:child_process';
import { getCurrentTest } from 'vitest/suite';

const known = new Map<string, boolean>();

export function isThere(tool: string): boolean {
  const there = known.get(tool) ?? spawnSync('sh', ['-c', 'command -v "$0"', tool]).status === 0;
  known.set(tool, there);
  return there;
}

/** Skips the test that runs, unless all of them are there. */
export function needs(...tools: string[]): void {
  const missing = tools.filter((tool) => !isThere(tool));
  if (missing.length > 0) getCurrentTest()?.context.skip(missing.join(' and '));
}

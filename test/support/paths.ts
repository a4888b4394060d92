import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** A folder of its own for one test file, removed afterwards. */
export function testFolder(): { folder: string; path(name?: string): string } {
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  return { folder, path: (name = `lock-${++count}`) => join(folder, name) };
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

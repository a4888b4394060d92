import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const folders = new Set<string>();

// Where every test of a file is skipped its hooks are not called.
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder of its own for one test file, removed afterwards. */
export function testFolder(): { folder: string; path(name?: string): string } {
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-test-'));
  folders.add(folder);
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    folders.delete(folder);
  });
  let count = 0;
  return { folder, path: (name = `lock-${++count}`) => join(folder, name) };
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

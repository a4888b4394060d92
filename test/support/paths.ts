import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';

/** A folder of its own for one test file, removed afterwards. */
export function testFolder(): { folder: string; path(name?: string): string } {
  const folder = join(tmpdir(), `fairlock-test-${randomBytes(6).toString('hex')}`);
  // Not at once: where all tests of a file are skipped no hook would remove it.
  beforeAll(() => void mkdirSync(folder));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  return { folder, path: (name = `lock-${++count}`) => join(folder, name) };
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

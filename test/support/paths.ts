import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll } from 'vitest';

/** The package's folder, with a separator at its end, whatever its name is. */
export const root = fileURLToPath(new URL('../../', import.meta.url));
/** The command, as it is built. */
export const CLI = join(root, 'dist/cli/main.js');

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

/** The queue of Windows, on a model of its locks; on Windows itself (Wine): test/platforms.test.ts. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root, testFolder } from '../support/paths.js';
import { needs } from '../support/tools.js';

const { path } = testFolder();

it('every request knows its place, while others come and go and what the file tells is wrong', () => {
  needs('cc');
  const program = path();
  const source = join(root, 'native-fallback/test/windows_ticket.c');
  execFileSync('cc', ['-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', source, '-o', program]);
  expect(execFileSync(program, { encoding: 'utf8' })).toBe('as it should be\n');
});

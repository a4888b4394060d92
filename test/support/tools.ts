/** Programs that some tests talk to: a test that needs one which is not there is skipped, and says so (see skipped.ts). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { TestRunner } from 'vitest';

const known = new Map<string, boolean>();

export function isThere(tool: string): boolean {
  const there = known.get(tool) ?? spawnSync('sh', ['-c', 'command -v "$0"', tool]).status === 0;
  known.set(tool, there);
  return there;
}

/** Skips the test that runs, unless all of them are there. */
export function needs(...tools: string[]): void {
  const missing = tools.filter((tool) => !isThere(tool));
  if (missing.length > 0) TestRunner.getCurrentTest()?.context.skip(missing.join(' and '));
}

/** Skips the test that runs, unless other users can enter the temporary folder: root's own may be closed to them. */
export function needsOpenTmpdir(): void {
  for (let folder = tmpdir(); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0)
      TestRunner.getCurrentTest()?.context.skip('a TMPDIR that other users may enter');
    if (folder === dirname(folder)) return;
  }
}

/** By a short name first: the path of a socket has 107 characters at most, but it may be moved to a longer one. */
export function makeSocket(path: string): void {
  needs('python3');
  const bind = 'import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind("s")';
  const folder = mkdtempSync(`${path}-`);
  spawnSync('python3', ['-c', bind, folder]);
  renameSync(join(folder, 's'), path);
  rmdirSync(folder);
}

/** The library inside test runners that give each test file a realm of its own: Jest, and vitest's vm pools. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasFcntl } from './support/capabilities.js';
import { fetchInto, linkInto } from './support/package.js';
import { root, testFolder } from './support/paths.js';
import { program, run } from './support/programs.js';
import { isSoak } from './support/scale.js';

const { folder, path } = testFolder();
const tools = join(folder, 'tools');

const SUITE = readFileSync(program('environment-suite.mjs'), 'utf8');
const FROM = {
  'fairlock/cluster': ['LeaderElection', 'runOnce'],
  'fairlock/web-locks': ['LockManager'],
  'fairlock/lockutils': ['synchronized'],
  'fairlock/testing': ['temporaryLockPath'],
  'node:child_process': ['spawn'],
};

/** What a test file of the runner says: it gets at the library in its own way, and calls the suite. */
function testFile(isModule: boolean, timers: string): string {
  const load = (name: string): string => (isModule ? `await import('${name}')` : `require('${name}')`);
  const parts = Object.entries(FROM).map(([name, names]) => `const { ${names.join(', ')} } = ${load(name)};`);
  return `${parts.join('\n')}
  const { default: suite } = ${load(`./suite.${isModule ? 'mjs' : 'cjs'}`)};
  const modules = { fairlock: ${load('fairlock')}, ${Object.values(FROM).join(', ')} };
  suite({ modules, timers: ${timers}, test, expect, beforeEach, afterEach });`;
}

function project(type: 'module' | 'commonjs', files: Record<string, string>): string {
  const folder = path();
  linkInto(folder, 'vitest');
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ type, jest: { transform: {}, testEnvironment: 'node' } }),
  );
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  if (type === 'module') writeFileSync(join(folder, 'suite.mjs'), SUITE);
  else writeFileSync(join(folder, 'suite.cjs'), `exports.default = ${SUITE.replace('export default ', '')}`);
  return folder;
}

const JEST = join(tools, 'node_modules/jest/bin/jest.js');
const VITEST = join(root, 'node_modules/vitest/vitest.mjs');

// Jest is not installed with this project: the soak gets it from the registry.
describe.runIf(isSoak && hasFcntl)('inside', () => {
  beforeAll(() => {
    fetchInto(tools, 'jest@30');
  }, 300_000);

  it.each([
    ['Jest, CommonJS', 'commonjs', testFile(false, 'jest'), [JEST, '--ci', '--colors=false']],
    [
      'Jest, ESM',
      'module',
      `import { jest } from '@jest/globals';\n${testFile(true, 'jest')}`,
      ['--experimental-vm-modules', JEST, '--ci', '--colors=false'],
    ],
  ] as const)('%s', async (_name, type, text, command) => {
    const where = project(type, { 'one.test.js': text, 'two.test.js': text });
    // In one process, so that the files' realms share the addon.
    const { code, stderr } = await run(process.execPath, [...command, '--runInBand', '--rootDir', where], {}, where);
    expect(stderr).toMatch(/Tests: +24 passed, 24 total/);
    expect(code).toBe(0);
  });

  it.each(['vmThreads', 'vmForks'])('vitest, %s', async (pool) => {
    const text = `import { afterEach, beforeEach, expect, test, vi } from 'vitest';\n${testFile(true, 'vi')}`;
    const where = project('module', { 'one.test.js': text, 'two.test.js': text });
    const { code, stdout, stderr } = await run(
      process.execPath,
      [VITEST, 'run', '--pool', pool, '--root', where, '--no-color'],
      { NO_COLOR: '1' },
      where,
    );
    expect(stdout + stderr).toMatch(/Tests +24 passed \(24\)/);
    expect(code).toBe(0);
  });
});

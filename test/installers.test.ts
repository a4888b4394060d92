/** The packed package, installed by each installer that can be had from the registry: without a word, a script, a compiler. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasParking } from './support/capabilities.js';
import { npm, packInto } from './support/package.js';
import { run } from './support/programs.js';
import { isSoak } from './support/scale.js';

const platform = `${process.platform}-${process.arch}`;
const PROGRAM = `
  import { InterProcessLock } from 'fairlock';
  const lock = new InterProcessLock('a.lock');
  await lock.withLock(() => console.log(lock.inspect().layers.wait));`;

describe.runIf(isSoak && hasParking)('installed by', () => {
  // Not at once: where all tests of a file are skipped no hook would remove it.
  let folder: string;
  let tools: string;
  const tool = (...names: string[]): string => join(tools, 'node_modules', ...names);
  let tarball: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fairlock-installers-'));
    tools = join(folder, 'tools');
    mkdirSync(tools);
    writeFileSync(join(tools, 'package.json'), '{}');
    ({ tarball } = packInto(folder));
    const aliases = ['npm11@npm:npm@11', 'npm12@npm:npm@12', 'pnpm11@npm:pnpm@11', 'pnpm12@npm:pnpm@12'];
    const others = ['@yarnpkg/cli-dist@4', `@oven/bun-${platform}@1`, 'deno@2', `node-${platform}@26`];
    npm(tools, 'install', '--no-save', '--ignore-scripts', '--loglevel=error', ...aliases, ...others);
  }, 300_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const newest = () => tool(`node-${platform}`, 'bin', 'node');
  const rows: [string, () => string[], (() => string[])?][] = [
    ['npm 11', () => [process.execPath, tool('npm11', 'bin', 'npm-cli.js'), 'install', tarball]],
    ['npm 12', () => [newest(), tool('npm12', 'bin', 'npm-cli.js'), 'install', tarball], () => [newest()]],
    ['pnpm 11', () => [newest(), tool('pnpm11', 'bin', 'pnpm.mjs'), 'add', tarball]],
    ['pnpm 12', () => [newest(), tool('pnpm12', 'bin', 'pnpm.mjs'), 'add', tarball]],
    [
      'yarn 4',
      () => [tool('.bin', 'yarn'), 'add', `fairlock@file:${tarball}`],
      () => [tool('.bin', 'yarn'), 'node'], // without node_modules
    ],
    [
      'bun',
      () => [tool('@oven', `bun-${platform}`, 'bin', 'bun'), 'add', tarball],
      () => [tool('@oven', `bun-${platform}`, 'bin', 'bun')],
    ],
  ];

  it.each(rows)('%s: silent, and it locks', async (name, install, start = () => [process.execPath]) => {
    const where = mkdtempSync(join(folder, 'consumer-'));
    writeFileSync(join(where, 'package.json'), '{ "name": "consumer", "private": true }');
    if (name.startsWith('yarn')) writeFileSync(join(where, 'yarn.lock'), ''); // A project of its own.
    writeFileSync(join(where, 'program.mjs'), PROGRAM);
    const env = { YARN_ENABLE_TELEMETRY: '0', NODE_NO_WARNINGS: '1', FAIRLOCK_DISABLE: '' };
    const [command = '', ...args] = install();
    const { code, stdout, stderr } = await run(command, args, env, where);
    const said = `${stdout}\n${stderr}`.split('\n').filter((line) => /warn|script|build|gyp|deprecated/i.test(line));
    // Of this machine's settings, and of yarn's own loader.
    expect(said.filter((line) => !/user config|env config|ESM support for PnP|Done with warnings/.test(line))).toEqual(
      [],
    );
    expect(code).toBe(0);
    const [runner = '', ...before] = start();
    const ran = await run(runner, [...before, 'program.mjs'], env, where);
    expect([ran.stderr, ran.stdout]).toEqual(['', 'native-fallback\n']);
  });

  it('deno runs what npm has installed', async () => {
    const where = mkdtempSync(join(folder, 'consumer-'));
    writeFileSync(join(where, 'package.json'), '{ "name": "consumer", "private": true }');
    writeFileSync(join(where, 'program.mjs'), PROGRAM);
    npm(where, 'install', '--ignore-scripts', tarball);
    const { stdout, stderr } = await run(tool('.bin', 'deno'), ['run', '-A', 'program.mjs'], {}, where);
    expect([stderr, stdout]).toEqual(['', 'native-fallback\n']);
  });
});

/** The library inside test runners that give each test file a realm of its own: Jest, and vitest's vm pools. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasFcntl } from './support/capabilities.js';
import { fetchInto, linkInto } from './support/package.js';
import { root, testFolder } from './support/paths.js';
import { run } from './support/programs.js';
import { isSoak } from './support/scale.js';

const { folder, path } = testFolder();
const tools = join(folder, 'tools');

/** A small suite, in the words that both runners know. `load` is how it gets at the library. */
const suite = (load: (name: string) => string): string => `
  const { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore, LockTimeoutError, lockBeside } = ${load('fairlock')};
  const { LeaderElection, runOnce } = ${load('fairlock/cluster')};
  const { LockManager } = ${load('fairlock/web-locks')};
  const { synchronized } = ${load('fairlock/lockutils')};
  const { temporaryLockPath } = ${load('fairlock/testing')};
  let folder;
  beforeEach(() => { folder = temporaryLockPath(); });
  afterEach(() => folder.remove());

  for (const options of [{}, { fairness: 'fifo' }, { mechanism: 'fcntl' }, { mechanism: 'lockfile' }, { unlinkOnRelease: true }]) {
    test('a new path, then a queue: ' + JSON.stringify(options), async () => {
      const lock = new InterProcessLock(folder.file('missing/folders/a.lock'), options);
      const first = await lock.acquire();
      expect(lock.tryAcquire()).toBe(null);
      const order = [];
      const all = [1, 2, 3].map((n) => lock.withLock(() => order.push(n)));
      const late = await lock.acquire({ timeout: 1 }).catch((error) => error);
      expect(late instanceof LockTimeoutError).toBe(true);
      expect(await lock.acquire({ signal: AbortSignal.timeout(1) }).catch(({ name }) => name)).toBe('TimeoutError');
      first.release();
      await Promise.all(all);
      expect(order).toEqual([1, 2, 3]);
    });
  }
  test('contended by another process', async () => {
    const { spawn } = ${load('node:child_process')};
    const file = folder.file('a.lock');
    const holder = spawn('flock', [file, 'sh', '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const lock = new InterProcessLock(file);
    expect([lock.tryAcquire(), lock.isLocked()]).toEqual([null, true]);
    const waiting = lock.acquire();
    holder.stdin.end();
    (await waiting).release();
  });
  test('system errors are themselves', async () => {
    const error = await new InterProcessLock('/proc/x/a.lock').acquire().catch((reason) => reason);
    expect(error.code).toBe('ENOENT');
  });
  test('a URL is a path', () => {
    new InterProcessLock(new URL('file://' + folder.file('a.lock'))).tryAcquire().release();
  });
  test('readers, semaphores, files beside', async () => {
    const lock = new InterProcessReaderWriterLock(folder.file('rw.lock'));
    const readers = await Promise.all([lock.acquireRead(), lock.acquireRead()]);
    const writer = lock.acquireWrite();
    for (const reader of readers) reader.release();
    (await writer).release();
    const semaphore = new InterProcessSemaphore(folder.file('s.lock'), { permits: 2 });
    const permits = [await semaphore.acquire(), await semaphore.acquire()];
    const third = semaphore.acquire();
    for (const permit of permits) permit.release();
    (await third).release();
    await lockBeside(folder.file('data.json')).withLock(() => {});
  });
  test('cluster, web locks, lockutils', async () => {
    expect(await runOnce(folder.file('once.lock'), () => 1, { key: 'k' })).toBe(1);
    await expect(runOnce(folder.file('once.lock'), () => { throw new Error('no'); }, { key: 'l' })).rejects.toThrow('no');
    expect(await new LeaderElection(folder.file('leader.lock')).run(({ token }) => token > 0)).toBe(true);
    const locks = new LockManager(folder.file('names'));
    expect(await locks.request('n', { signal: new AbortController().signal }, () => 'got')).toBe('got');
    expect(await synchronized('s', { external: true })(() => 2)()).toBe(2);
  });
  test('fake timers that are on at first use', async () => {
    timers.useFakeTimers();
    const lock = new InterProcessLock(folder.file('fake.lock'));
    const first = await lock.acquire();
    const waiting = lock.acquire();
    first.release();
    (await waiting).release();
    timers.useRealTimers();
  });
  test('timeouts and notices under fake timers', async () => {
    const lock = new InterProcessLock(folder.file('faked.lock'));
    const first = await lock.acquire();
    timers.useFakeTimers();
    const late = await lock.acquire({ timeout: 1 }).catch(({ code }) => code);
    // Not one wait for both: the holders are looked for before the notice is given, which may take longer than a timeout.
    const noticed = await new Promise((resolve) => {
      const controller = new AbortController();
      const onWait = () => { resolve(true); controller.abort(); };
      lock.acquire({ waitNotice: 1, onWait, signal: controller.signal }).catch(() => {});
    });
    timers.useRealTimers();
    expect([late, noticed]).toEqual(['ERR_LOCK_TIMEOUT', true]);
    first.release();
  });`;

function project(type: 'module' | 'commonjs', files: Record<string, string>): string {
  const folder = path();
  linkInto(folder, 'vitest');
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ type, jest: { transform: {}, testEnvironment: 'node' } }),
  );
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

const ESM = (name: string): string => `await import('${name}')`;
const CJS = (name: string): string => `require('${name}')`;
const JEST = join(tools, 'node_modules/jest/bin/jest.js');
const VITEST = join(root, 'node_modules/vitest/vitest.mjs');

// Jest is not installed with this project: the soak gets it from the registry.
describe.runIf(isSoak && hasFcntl)('inside', () => {
  beforeAll(() => {
    fetchInto(tools, 'jest@30');
  }, 300_000);

  it.each([
    ['Jest, CommonJS', 'commonjs', `const timers = jest; ${suite(CJS)}`, [JEST, '--ci', '--colors=false']],
    [
      'Jest, ESM',
      'module',
      `import { jest as timers } from '@jest/globals'; ${suite(ESM)}`,
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
    const text = `import { afterEach, beforeEach, expect, test, vi as timers } from 'vitest'; ${suite(ESM)}`;
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

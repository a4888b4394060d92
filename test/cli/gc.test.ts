import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, InterProcessSemaphore } from '../../src/index.js';
import { hasFcntl } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { Actor, forkProgram, program, run } from '../support/programs.js';
import { isSoak, rounds, some } from '../support/scale.js';
import { until } from '../support/waiting.js';

const gc = (...args: string[]) => run(process.execPath, [CLI, 'gc', ...args]);
const { path } = testFolder();
const [CREW, TIMES] = [rounds(4, 8), rounds(8, 150)];

async function folderWith(...names: string[]): Promise<string> {
  const folder = path();
  mkdirSync(folder);
  for (const name of names) (await new InterProcessLock(join(folder, name), { fairness: 'fifo' }).acquire()).release();
  return folder;
}

/** Two requests are queued, so that the sidecar has its header. */
async function withHeader(file: string): Promise<void> {
  const lock = new InterProcessLock(file, { fairness: 'fifo' });
  const [first, second] = [await lock.acquire(), lock.acquire()];
  first.release();
  (await second).release();
}

describe.runIf(hasFcntl)('fairlock gc', () => {
  it('removes lock files and their sidecars, and nothing else', async () => {
    const folder = await folderWith('a', 'b', 'with space');
    await withHeader(join(folder, 'a'));
    writeFileSync(join(folder, 'foreign-empty'), '');
    writeFileSync(join(folder, 'foreign'), 'content');
    writeFileSync(join(folder, '.x.fairlock-queue'), 'not of ours');
    writeFileSync(join(folder, '.a.fairlock-leader'), '{}');
    symlinkSync('a', join(folder, 'link'));
    mkdirSync(join(folder, 'folder'));
    const { code, stdout, stderr } = await gc(folder);
    expect([code, stderr]).toEqual([0, 'fairlock: 3 removed, 0 in use\n']);
    expect(stdout.split('\n').sort()).toEqual([
      '',
      ...['a', 'b', 'with space'].map((name) => `removed ${join(folder, name)}`),
    ]);
    expect(readdirSync(folder).sort()).toEqual([
      '.a.fairlock-leader',
      '.x.fairlock-queue',
      'folder',
      'foreign',
      'foreign-empty',
      'link',
    ]);
  });

  it("removes a sidecar that was left alone, but keeps that of another program's file", async () => {
    const folder = await folderWith();
    await withHeader(join(folder, 'gone'));
    await withHeader(join(folder, 'data'));
    await run('rm', [join(folder, 'gone')]);
    writeFileSync(join(folder, 'data'), 'precious');
    await gc(folder);
    expect(readdirSync(folder).sort()).toEqual(['.data.fairlock-queue', 'data']);
  });

  it('keeps what is held, however it is held, and what is waited for', async () => {
    const folder = await folderWith('free');
    const file = (name: string): string => join(folder, name);
    const holders = [
      new InterProcessLock(file('flock')).tryAcquire(),
      new InterProcessLock(file('fcntl'), { mechanism: 'fcntl' }).tryAcquire(),
      new InterProcessLock(file('range'), { mechanism: 'fcntl', range: { start: 5, length: 1 } }).tryAcquire(),
      new InterProcessSemaphore(file('semaphore'), { permits: 3 }).tryAcquire(),
    ];
    const { stderr, stdout } = await gc(folder);
    expect(stdout).toBe(`removed ${file('free')}\n`);
    expect(stderr).toBe('fairlock: 1 removed, 4 in use\n');
    for (const handle of holders) handle?.release();
    expect((await gc(folder)).stderr).toBe('fairlock: 4 removed, 0 in use\n');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('keeps the sidecar of a line whose head is stopped', async () => {
    const folder = await folderWith();
    const file = join(folder, 'lock');
    const lock = new InterProcessLock(file, { fairness: 'fifo' });
    const handle = await lock.acquire();
    const waiter = Actor.start();
    await waiter.call('create', 'InterProcessLock', file, { fairness: 'fifo' });
    const granted = waiter.call('acquire');
    await until(() => lock.inspect().waiters.length === 1);
    // It has its ticket, and cannot go on: the lock is free, the line is not.
    waiter.child.kill('SIGSTOP');
    await until(() => readFileSync(`/proc/${waiter.child.pid}/stat`, 'utf8').includes(') T '));
    handle.release();
    expect((await gc(folder)).stderr).toBe('fairlock: 0 removed, 1 in use\n');
    waiter.child.kill('SIGCONT');
    await granted;
    expect(lock.inspect().holders).toMatchObject([{ pid: waiter.child.pid }]);
  });

  it('with --dry-run touches nothing, with --older-than spares the young', async () => {
    const folder = await folderWith('old', 'young');
    const hourAgo = Date.now() / 1000 - 3600;
    utimesSync(join(folder, 'old'), hourAgo, hourAgo);
    const before = readdirSync(folder).sort();
    const dry = await gc('--dry-run', folder);
    expect(dry.stdout.trim().split('\n').length).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(before);
    expect((await gc('--older-than', '30m', folder)).stdout).toBe(`removed ${join(folder, 'old')}\n`);
  });

  it.runIf(isSoak)('takes an age of any unit, and says what is none', async () => {
    const folder = await folderWith('young');
    expect((await gc('--older-than', '1d', folder)).stdout).toBe('');
    expect(await gc('--older-than', 'soon', folder)).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("invalid age: 'soon'"),
    });
    expect(await gc('--dry-run', '--older-than', '.5s', folder)).toMatchObject({ code: 64 });
  });

  it.runIf(isSoak)('says what it cannot do', async () => {
    expect(await gc(path('nowhere'))).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('no such file or directory'),
    });
    expect((await gc()).code).toBe(64);
    const without = await run(process.execPath, [CLI, 'gc', await folderWith('x')], {
      FAIRLOCK_DISABLE: 'native-fallback',
    });
    expect(without).toMatchObject({ code: 69, stderr: expect.stringContaining('needs the addon') });
    const folder = await folderWith('mixed');
    mkdirSync(join(folder, 'mixed.lock'));
    expect(await gc(folder)).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('kept') });
    chmodSync(folder, 0o755);
  });

  const orders: [string, { fairness?: 'fifo' }[]][] = [
    ['both', [{}, { fairness: 'fifo' }]],
    ['kernel order', [{}]],
    ['strict order', [{ fairness: 'fifo' }]],
  ];
  it.each(some(orders))(
    'in a loop beside processes that lock, unlink and recreate (%s), the counter is exact',
    async (_name, options) => {
      const folder = await folderWith();
      const file = join(folder, 'lock');
      const counter = path();
      writeFileSync(counter, '0');
      const collectors = [1, 2].map(() => forkProgram('collector.mjs', [file]));
      await Promise.all(collectors.map((one) => once(one, 'message')));
      const job = JSON.stringify({ path: file, counter, times: TIMES, options });
      const crew = await Promise.all(
        Array.from({ length: CREW }, () => run(process.execPath, [program('churner.mjs'), job])),
      );
      expect(crew.map(({ code, stderr }) => [code, stderr])).toEqual(crew.map(() => [0, '']));
      expect(readFileSync(counter, 'utf8')).toBe(String(CREW * TIMES));
      const removed = await Promise.all(
        collectors.map(async (one) => {
          one.send('stop');
          return (await once(one, 'message'))[0].removed as number;
        }),
      );
      expect(Math.max(...removed)).toBeGreaterThan(0);
    },
  );
});

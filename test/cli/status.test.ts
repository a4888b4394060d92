import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LockStatus } from '../../src/cli/lock-status.js';
import { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore } from '../../src/index.js';
import { hasFcntl, hasNamespaces } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { Actor, LineProgram, run } from '../support/programs.js';
import { some } from '../support/scale.js';
import { until } from '../support/waiting.js';

const status = (...args: string[]) => run(process.execPath, [CLI, 'status', ...args]);
const json = async (...args: string[]): Promise<LockStatus[]> => JSON.parse((await status('--json', ...args)).stdout);
const { path } = testFolder();

describe.runIf(hasFcntl)('fairlock status', () => {
  const kinds = [
    ['flock', 'exclusive', (file: string) => new InterProcessLock(file).tryAcquire()],
    ['flock', 'shared', (file: string) => new InterProcessReaderWriterLock(file).tryAcquireRead()],
    ['fcntl', 'exclusive', (file: string) => new InterProcessLock(file, { mechanism: 'fcntl' }).tryAcquire()],
    [
      'fcntl',
      'shared',
      (file: string) => new InterProcessReaderWriterLock(file, { mechanism: 'fcntl' }).tryAcquireRead(),
    ],
    ['semaphore', 'permit', (file: string) => new InterProcessSemaphore(file, { permits: 2 }).tryAcquire()],
  ] as const;
  it.each(some(kinds))('shows a holder: %s, %s', async (mechanism, mode, acquire) => {
    const file = path();
    const handle = acquire(file);
    const started = expect.stringMatching(/^\d{4}-.*Z$/);
    expect(await json(file)).toEqual([
      {
        path: file,
        holders: [{ pid: process.pid, command: expect.any(String), mode, mechanism, started }],
        waiters: [],
      },
    ]);
    const { stdout } = await status(file);
    expect(stdout).toMatch(/^FILE +PID +COMMAND +STATE +MODE +MECHANISM +STARTED\n/);
    expect(stdout).toMatch(new RegExp(` ${process.pid} .* holds +${mode} +${mechanism} +\\d+ \\w+ ago\n$`));
    handle?.release();
    expect((await status(file)).stdout).toBe('no process holds or waits\n');
  });

  it('shows a lock folder, whose owner is unknown', async () => {
    const file = path();
    mkdirSync(`${file}.lock`);
    expect(await json(file)).toMatchObject([{ holders: [{ mode: 'exclusive', mechanism: 'lockfile' }] }]);
    expect((await status(file)).stdout).toMatch(/\? +\? +holds +exclusive +lockfile/);
  });

  it('shows the waiters, in the order of service where it is strict', async () => {
    const file = path();
    const lock = new InterProcessLock(file, { fairness: 'fifo' });
    const handle = await lock.acquire();
    const waiters = [Actor.start(), Actor.start(), Actor.start()];
    for (const [i, actor] of waiters.entries()) {
      await actor.call('create', 'InterProcessLock', file, { fairness: 'fifo' });
      actor.call('acquire').catch(() => {});
      await until(() => lock.inspect().waiters.length === i + 1);
    }
    const [seen] = await json(file);
    expect(seen?.waiters.map(({ pid }) => pid)).toEqual(waiters.map(({ child }) => child.pid));
    expect((await status(file)).stdout).toMatch(/holds[\s\S]*waits #1[\s\S]*waits #2[\s\S]*waits #3/);
    handle.release();
  });

  it('shows what is busy in a folder, and the folder if it is a lock itself', async () => {
    const folder = path();
    mkdirSync(folder);
    const idle = new InterProcessLock(join(folder, 'idle'), { fairness: 'fifo' });
    (await idle.acquire()).release();
    const handles = [join(folder, 'busy'), folder].map((file) =>
      new InterProcessLock(file, { mechanism: 'flock' }).tryAcquire(),
    );
    expect((await json(folder)).map(({ path }) => path).sort()).toEqual([folder, join(folder, 'busy')]);
    for (const handle of handles) handle?.release();
    expect(await json(folder)).toEqual([]);
  });

  it('watches', async () => {
    const file = path();
    const watching = new LineProgram(process.execPath, [CLI, 'status', '--watch', file]);
    const handle = await new InterProcessLock(file).acquire();
    await until(async () => (await watching.line()).includes(`${process.pid}`));
    handle.release();
    await until(async () => (await watching.line()) === 'no process holds or waits');
  });

  it('watched, says since when, and how long holds and waits took', async () => {
    const file = path();
    (await new InterProcessLock(file).acquire()).release();
    const watching = new LineProgram(process.execPath, [CLI, 'status', '--watch', file]);
    await until(async () => (await watching.line()) === 'no process holds or waits');
    const handle = await new InterProcessLock(file).acquire();
    const waiter = Actor.start();
    await waiter.call('create', 'InterProcessLock', file);
    const waiting = waiter.call('acquire');
    await until(async () => /waits #1 +[\d.]+ (ms|s) /.test(await watching.line()));
    handle.release();
    await waiting;
    await until(async () => / 1 +[\d.]+ (ms|s) +[\d.]+ (ms|s) +1 +[\d.]+ (ms|s)/.test(await watching.line()));
  });

  it('watched as JSON, says since when', async () => {
    const file = path();
    const handle = await new InterProcessLock(file).acquire();
    const watching = new LineProgram(process.execPath, [CLI, 'status', '--watch', '--json', file]);
    await until(async () => /"seenSince": "20/.test(await watching.line()));
    expect(await watching.line()).toContain('"atLeast": true');
    handle.release();
  });

  it.runIf(hasNamespaces)('without /proc says that it cannot look, not that no process holds', async () => {
    const file = path();
    const handle = await new InterProcessLock(file).acquire();
    const hidden = 'mount -t tmpfs none /proc && exec "$0" "$1" status "$2"';
    const {
      status: code,
      stderr,
      stdout,
    } = spawnSync('unshare', ['--mount', 'sh', '-c', hidden, process.execPath, CLI, file], { encoding: 'utf8' });
    expect([code, stdout]).toEqual([69, '']);
    expect(stderr).toMatch(/cannot look which processes hold a lock: .*no such file or directory/);
    handle.release();
  });

  it('says what is not there', async () => {
    expect(await status(path('nowhere'))).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('no such file or directory'),
    });
  });
});

import { spawn } from 'node:child_process';
import { pbkdf2 } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { InterProcessLock } from '../../../src/index.js';
import { loadAddon } from '../../../src/native/addon.js';
import { hasFcntl, hasParking } from '../../support/capabilities.js';
import { openDescriptors, testFolder } from '../../support/paths.js';
import { Actor, forkProgram, program, runProgram } from '../../support/programs.js';
import { rounds } from '../../support/scale.js';
import { outcome, settle, until } from '../../support/waiting.js';

const { folder, path } = testFolder();
const PATHS = rounds(100, 1000);

function threads(): number {
  return readdirSync('/proc/self/task').length;
}

/** Another process that holds `count` locks, and a function that makes it release them. */
async function holdElsewhere(
  count: number,
): Promise<{ locks: InterProcessLock[]; releaseAll: () => void; kill: () => void }> {
  const where = mkdtempSync(join(folder, 'held-'));
  const child = forkProgram('holder.mjs', [where, String(count)]);
  await once(child, 'message');
  const locks = Array.from({ length: count }, (_, i) => new InterProcessLock(join(where, `${i}.lock`)));
  return { locks, releaseAll: () => child.send('go'), kill: () => child.kill('SIGKILL') };
}

/** Runs a script that waits for a lock that we hold; the script prints 'waiting' once it is parked. */
async function whileItWaits(
  script: string,
  then?: (pid: number) => void,
): Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string }> {
  const lock = new InterProcessLock(path());
  const handle = await lock.acquire();
  const source = `
    import { InterProcessLock } from 'fairlock';
    const lock = new InterProcessLock(${JSON.stringify(lock.path)});
    const path = lock.path;
    const wait = lock.acquire();
    wait.catch(() => {});
    ${script}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'ignore'] });
  let stdout = '';
  child.stdout?.on('data', (text) => {
    stdout += text;
  });
  if (then !== undefined) {
    await until(() => lock.inspect().waiters.some(({ pid }) => pid === child.pid));
    then(child.pid as number);
  }
  const [code, signal] = await once(child, 'close');
  handle.release();
  return { code, signal, stdout };
}

describe.runIf(hasParking)('parked waits', () => {
  it('64 of them leave the thread pool alone', async () => {
    const { locks, releaseAll } = await holdElsewhere(64);
    const waits = locks.map((lock) => lock.acquire());
    await Promise.all([
      readFile(new URL(import.meta.url)),
      lookup('localhost'),
      promisify(gzip)('x'),
      promisify(pbkdf2)('x', 'y', 1, 16, 'sha1'),
    ]);
    expect(await Promise.all(waits.map(async (wait) => outcome(wait).state))).toEqual(Array(64).fill('pending'));
    releaseAll();
    for (const wait of waits) (await wait).release();
  });

  it('very many paths: all granted when the other process releases; threads and descriptors back where they were', async () => {
    const { locks, releaseAll } = await holdElsewhere(PATHS);
    const addon = loadAddon().api;
    const before = { descriptors: openDescriptors(), threads: threads() - (addon?.threads() ?? 0) };
    const waits = locks.map((lock) => lock.acquire());
    await until(() => addon?.threads() === PATHS);
    releaseAll();
    for (const wait of waits) (await wait).release();
    for (const lock of locks) lock.close();
    await until(() => addon?.threads() === 0 && threads() <= before.threads && openDescriptors() <= before.descriptors);
  });

  it('as many cancelled waits leave nothing', async () => {
    const { locks, kill } = await holdElsewhere(PATHS);
    const before = openDescriptors();
    const controller = new AbortController();
    const waits = locks.map((lock) => lock.acquire({ signal: controller.signal }));
    controller.abort(new Error('enough'));
    expect(
      new Set((await Promise.allSettled(waits)).map((one) => one.status === 'rejected' && one.reason.message)),
    ).toEqual(new Set(['enough']));
    for (const lock of locks) lock.close();
    await until(() => openDescriptors() <= before);
    kill();
  });

  it('abort against grant, thousands of times against a process that toggles the lock: never two holders, nothing leaked', async () => {
    const lock = new InterProcessLock(path());
    const inside = `${lock.path}.inside`;
    const child = forkProgram('toggler.mjs', [lock.path]);
    await once(child, 'message');
    const before = openDescriptors();
    let [granted, aborted] = [0, 0];
    for (let i = 0; i < rounds(500, 20_000); i++) {
      const controller = new AbortController();
      const wait = lock.acquire({ signal: controller.signal });
      if (i % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      else for (let turn = 0; turn < i % 7; turn++) await null;
      controller.abort();
      const handle = await wait.catch(() => undefined);
      if (handle === undefined) {
        aborted++;
        continue;
      }
      granted++;
      mkdirSync(inside); // throws if the other one is inside
      rmdirSync(inside);
      handle.release();
    }
    child.send('stop');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(Math.min(granted, aborted)).toBeGreaterThan(0);
    (await lock.acquire()).release();
    lock.close();
    await until(() => openDescriptors() <= before);
  });

  it('a wait whose file is removed meanwhile goes on with the new one', async () => {
    const lock = new InterProcessLock(path());
    const other = Actor.start();
    await other.call('create', 'InterProcessLock', lock.path);
    await other.call('acquire');
    const wait = lock.acquire();
    await until(() => lock.inspect().waiters.length > 0);
    unlinkSync(lock.path);
    await other.call('release');
    const handle = await wait;
    expect(handle.signal.aborted).toBe(false);
    expect(await other.call('tryAcquire')).toBe(false);
    handle.release();
  });

  it('timeouts and close end it too', async () => {
    const { locks, kill } = await holdElsewhere(2);
    const [one, two] = locks as [InterProcessLock, InterProcessLock];
    await expect(one.acquire({ timeout: 5 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    expect(() => one.acquireSync({ timeout: 5 })).toThrow(expect.objectContaining({ code: 'ERR_LOCK_TIMEOUT' }));
    const closed = expect(two.acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
    two.close();
    await closed;
    kill();
    one.acquireSync().release();
  });
});

describe.runIf(hasParking)('a process with a wait pending', () => {
  it('exits when told to', async () => {
    expect(await whileItWaits('setImmediate(() => process.exit(3))')).toMatchObject({ code: 3, signal: null });
  });

  it('dies of SIGTERM and SIGINT', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      expect(await whileItWaits('', (pid) => process.kill(pid, signal))).toMatchObject({ signal });
    }
  });

  it('ends with an uncaught error', async () => {
    expect(await whileItWaits("setImmediate(() => { throw new Error('boom') })")).toMatchObject({ code: 1 });
  });

  it('stays alive as long as it waits, and ends when it has given up', async () => {
    const script = `
      const end = new AbortController();
      lock.close();
      const second = new InterProcessLock(path).acquire({ signal: end.signal });
      setTimeout(() => end.abort(), 20);
      second.catch(() => console.log('given up'));`;
    expect(await whileItWaits(script)).toMatchObject({ code: 0, stdout: 'given up\n' });
  });

  it.each(hasFcntl ? (['kernel', 'fifo'] as const) : (['kernel'] as const))(
    'has another handler for our signal: the wait goes on, later requests poll, and nothing is lost, %s',
    async (fairness) => {
      const lock = new InterProcessLock(path(), { fairness });
      const handle = await lock.acquire();
      const flags = ['--no-warnings', '--expose-internals'];
      const child = spawn(process.execPath, [...flags, program('signals-taken.mjs'), lock.path, fairness], {
        stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      });
      let stdout = '';
      child.stdout?.on('data', (text) => {
        stdout += text;
      });
      await once(child, 'message');
      handle.release();
      expect((await once(child, 'close'))[0]).toBe(0);
      expect(stdout).toBe('ERR_LOCK_CLOSED\nERR_LOCK_TIMEOUT\nAbortError\ngranted\n');
      (await lock.acquire()).release();
    },
  );
});

describe.runIf(hasParking)('Workers with waits pending', () => {
  async function inMainProcess(name: string, ...args: string[]): Promise<string> {
    const ran = await runProgram(name, args);
    expect([ran.code, ran.signal, ran.stderr]).toEqual([0, null, '']);
    return ran.stdout;
  }

  it.each(['async', 'sync'])('terminate() ends them, %s, many times in a Worker only', async (kind) => {
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    const times = rounds(2, kind === 'sync' ? 20 : 100);
    expect(await inMainProcess('waiting-workers.mjs', lock.path, kind, String(times))).toBe('none left\n');
    expect(lock.inspect().waiters).toEqual([]);
    handle.release();
    expect(lock.tryAcquire()).not.toBeNull();
  });

  it('many Workers at once wait for each other and for the main thread', async () => {
    const [lock, counter] = [path(), path()];
    writeFileSync(counter, '0');
    const all = { path: lock, counter, options: {}, count: 8, times: 20, rounds: 1, mainToo: false };
    const told = await inMainProcess('many-workers.mjs', JSON.stringify(all));
    expect(JSON.parse(told)).toEqual({ counter: '160', problems: [] });
  });

  it('the lock of a Worker that is terminated is released', async () => {
    expect(await inMainProcess('waiting-workers.mjs', path(), 'holds')).toBe('free\n');
    await settle();
  });
});

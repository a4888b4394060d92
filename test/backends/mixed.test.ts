import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, LockMismatchError } from '../../src/index.js';
import { hasFlock, hasStrace } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor, run } from '../support/programs.js';
import { rounds } from '../support/scale.js';

/** A process without native layers: its 'auto' is the lockfile. */
const WITHOUT_LAYERS = { env: { ...process.env, FAIRLOCK_DISABLE: 'fs-ext,native-fallback', NODE_NO_WARNINGS: '1' } };

describe.runIf(hasFlock)('a process with native locks and one without, on one path', () => {
  const { path } = testFolder();

  async function fallenBack(file: string): Promise<Actor> {
    const actor = Actor.start(WITHOUT_LAYERS);
    expect(await actor.call('create', 'InterProcessLock', file)).toBe('lockfile');
    return actor;
  }

  it('native first: the one without is refused, held or not', async () => {
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    const other = await fallenBack(lock.path);
    await expect(other.call('tryAcquire')).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      path: lock.path,
      message: expect.stringMatching(/flock.*lock folder.*chmod -t/s),
    });
    handle.release();
    await expect(other.call('acquire')).rejects.toMatchObject({ code: 'ERR_LOCK_MISMATCH' });
    expect(existsSync(`${lock.path}.lock`)).toBe(false);
    unlinkSync(lock.path);
    await other.call('acquire');
  });

  it('the one without first: native is refused until the folder is gone', async () => {
    const lock = new InterProcessLock(path());
    const other = await fallenBack(lock.path);
    await other.call('acquire');
    expect(() => lock.tryAcquire()).toThrow(LockMismatchError);
    await expect(lock.acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      path: lock.path,
      message: expect.stringMatching(/lock folder.*lockfile.*remove it/s),
    });
    await other.call('release');
    (await lock.acquire()).release();
  });

  it('a lock object with an idle descriptor notices too', async () => {
    const lock = new InterProcessLock(path());
    (await lock.acquire()).release();
    unlinkSync(lock.path);
    const other = await fallenBack(lock.path);
    await other.call('acquire');
    await expect(lock.acquire()).rejects.toThrow(LockMismatchError);
  });

  it('a crash of either leaves its register standing: never two holders, a clear error instead', async () => {
    const native = Actor.start();
    const file = path();
    await native.call('create', 'InterProcessLock', file);
    await native.call('acquire');
    const other = await fallenBack(file);
    await native.kill();
    await expect(other.call('acquire')).rejects.toMatchObject({ code: 'ERR_LOCK_MISMATCH' });
    unlinkSync(file);
    await other.call('acquire');
    await other.kill();
    const lock = new InterProcessLock(file);
    await expect(lock.acquire()).rejects.toThrow(LockMismatchError);
    rmdirSync(`${file}.lock`);
    (await lock.acquire()).release();
  });

  it('marks an empty file that others made, leaves one with content alone, and keeps its permissions', async () => {
    const [empty, full] = [path(), path()];
    writeFileSync(empty, '', { mode: 0o640 });
    chmodSync(empty, 0o640);
    writeFileSync(full, 'data', { mode: 0o600 });
    for (const file of [empty, full]) (await new InterProcessLock(file).acquire()).release();
    expect([statSync(empty).mode & 0o7777, statSync(full).mode & 0o7777]).toEqual([0o1640, 0o600]);
    const fresh = new InterProcessLock(path(), { mode: 0o600 });
    (await fresh.acquire()).release();
    expect(statSync(fresh.path).mode & 0o7777).toBe(0o1600);
  });

  it('many at once, in both orders, never both hold', async () => {
    for (let round = 0; round < rounds(2, 20); round++) {
      const file = path();
      const native = Actor.start();
      await native.call('create', 'InterProcessLock', file);
      const other = await fallenBack(file);
      const tried = await Promise.allSettled([native.call('tryAcquire'), other.call('tryAcquire')]);
      expect(tried.filter((one) => one.status === 'fulfilled' && one.value === true).length).toBeLessThanOrEqual(1);
      for (const one of tried)
        if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'ERR_LOCK_MISMATCH' });
      await Promise.all([native.kill(), other.kill()]);
    }
  });

  it.runIf(hasStrace)('costs no system call per grant', async () => {
    const file = path();
    const program = `
      import { InterProcessLock } from 'fairlock';
      const lock = new InterProcessLock(${JSON.stringify(file)});
      (await lock.acquire()).release();
      for (let i = 0; i < 100; i++) (await lock.acquire()).release();`;
    // Not on stderr: the traced Node makes that non-blocking, and lines get lost.
    const trace = `${file}.trace`;
    await run('strace', ['-f', '-o', trace, process.execPath, '--input-type=module', '-e', program]);
    const calls = readFileSync(trace, 'utf8')
      .split('\n')
      .filter((line) => line.includes(file) || /\bflock\(/.test(line));
    const named = (name: string): number => calls.filter((line) => line.includes(`${name}(`)).length;
    expect(named('flock')).toBe(202);
    expect(calls.filter((line) => line.includes(`${file}.lock`)).length).toBe(1);
    expect(named('chmod')).toBe(0);
  });

  it('a folder of that name beside a folder that is locked is none of ours', async () => {
    const file = path();
    mkdirSync(file);
    mkdirSync(`${file}.lock`);
    (await new InterProcessLock(file).acquire()).release();
  });
});

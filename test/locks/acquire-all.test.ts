import { linkSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { acquireAll, InterProcessLock } from '../../src/index.js';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor, isFreeForFlock, runScript } from '../support/programs.js';
import { outcome, settle, until } from '../support/waiting.js';

const { folder, path } = testFolder();
const locksOn = (files: string[]): InterProcessLock[] => files.map((file) => new InterProcessLock(file));

describe.runIf(hasFlock)('acquireAll', () => {
  it('holds all, and releases all', async () => {
    const files = [path(), path(), path()];
    const handle = await acquireAll(locksOn(files));
    expect([handle.released, handle.shared, handle.fd, files.map(isFreeForFlock)]).toEqual([
      false,
      false,
      undefined,
      [false, false, false],
    ]);
    handle.release();
    expect([handle.released, files.map(isFreeForFlock)]).toEqual([true, [true, true, true]]);
  });

  it('never deadlocks, in whatever order the callers name them, however they spell them', async () => {
    const [one, two] = [path('z'), path('a')];
    symlinkSync(folder, path('0-link'));
    const script = (first: string, second: string): string => `
      import { acquireAll, InterProcessLock } from 'fairlock';
      for (let i = 0; i < 150; i++) {
        const handle = await acquireAll(${JSON.stringify([first, second])}.map((file) => new InterProcessLock(file)), { timeout: 20_000 });
        await new Promise((resolve) => setImmediate(resolve));
        handle.release();
      }
      console.log('done');`;
    const ran = await Promise.all([
      runScript(script(one, two)),
      runScript(script(two, one)),
      runScript(script(`${folder}/0-link/z`, two)),
    ]);
    expect(ran.map(({ stdout, stderr }) => [stdout, stderr])).toEqual(ran.map(() => ['done\n', '']));
  });

  it('all or none: what was acquired is released when one of them times out', async () => {
    const files = [path('m1'), path('m2')];
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', files[1]);
    await actor.call('acquire');
    const all = acquireAll(locksOn(files), { timeout: 20 });
    await expect(all).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT', path: files[1] });
    expect(isFreeForFlock(files[0] as string)).toBe(true);
    const waiting = outcome(acquireAll(locksOn(files)));
    await settle();
    expect(waiting.state).toBe('pending');
    await actor.call('release');
    await until(() => waiting.state === 'fulfilled');
    waiting.value?.release();
  });

  it('the signal tells of the first one that is lost', async () => {
    const files = [path(), path()];
    const handle = await acquireAll(locksOn(files));
    const { signal } = handle;
    const lost = new Promise((resolve) => signal.addEventListener('abort', resolve));
    unlinkSync(files[1] as string);
    await lost;
    expect(signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST', path: files[1] });
    handle.release();
  });

  it('refuses none, no locks, and one lock twice', async () => {
    const file = path();
    await expect(acquireAll([])).rejects.toThrow(TypeError);
    await expect(acquireAll([{}] as never)).rejects.toThrow(/path and acquire/);
    await expect(acquireAll(locksOn([file, `${folder}/x/../${file.slice(folder.length + 1)}`]))).rejects.toThrow(
      /twice/,
    );
  });
});

describe('acquireAll of locks that exclude each other', () => {
  const range = (file: string, start: number, length: number) =>
    new InterProcessLock(file, { mechanism: 'fcntl', range: { start, length } });

  it.runIf(hasFcntl)('refuses byte ranges that overlap, and a range with the whole file, at once', async () => {
    const file = path();
    const whole = new InterProcessLock(file, { mechanism: 'fcntl' });
    for (const locks of [
      [range(file, 0, 10), range(file, 9, 2)],
      [range(file, 5, 1), whole],
      [whole, range(file, 100, Infinity)],
    ]) {
      await expect(acquireAll(locks)).rejects.toMatchObject({ code: 'ERR_LOCK_DEADLOCK' });
      expect(locks.map(({ held }) => held)).toEqual([false, false]);
    }
    (await acquireAll([range(file, 0, 10), range(file, 10, 2)])).release();
  });

  it('refuses two names of one file', async () => {
    const [file, other] = [path(), path()];
    writeFileSync(file, '');
    linkSync(file, other);
    const locks = [file, other].map((name) => new InterProcessLock(name));
    await expect(acquireAll(locks)).rejects.toMatchObject({
      code: 'ERR_LOCK_DEADLOCK',
      message: expect.stringContaining(file),
    });
  });
});

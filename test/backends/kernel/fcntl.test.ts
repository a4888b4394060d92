import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, LockDeadlockError } from '../../../src/index.js';
import { lockSuite } from '../../suites/lock.js';
import { hasFcntl, isRoot } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { Actor, LineProgram, program, run } from '../../support/programs.js';
import { rounds } from '../../support/scale.js';
import { needsOpenTmpdir } from '../../support/tools.js';
import { outcome, settle, until } from '../../support/waiting.js';

const { path } = testFolder();
const TIMES = rounds(30, 500);
const FCNTL = { mechanism: 'fcntl' } as const;

describe.runIf(hasFcntl)('fcntl', () => {
  lockSuite('InterProcessLock, fcntl', () => new InterProcessLock(path(), FCNTL));
  lockSuite(
    'InterProcessLock, a range',
    () => new InterProcessLock(path(), { ...FCNTL, range: { start: 7, length: 3 } }),
  );

  it("excludes Python's lockf and is excluded by it, parked on both sides", async () => {
    const lock = new InterProcessLock(path(), FCNTL);
    const handle = await lock.acquire();
    const python = new LineProgram('python3', [program('locker.py'), lock.path, 'lockf']);
    expect(await python.ask('try exclusive')).toBe('busy');
    const theirs = python.ask('lock exclusive');
    await until(() => lock.inspect().waiters.some(({ pid }) => pid === python.child.pid));
    handle.release();
    expect(await theirs).toBe('ok');
    expect(lock.tryAcquire()).toBeNull();
    const ours = lock.acquire();
    await python.ask('unlock');
    (await ours).release();
  });

  it('4 processes × many read-modify-writes: the sum is exact', async () => {
    const counter = path();
    writeFileSync(counter, '0');
    const arg = JSON.stringify({ path: path(), counter, times: TIMES, options: FCNTL });
    const ran = await Promise.all(
      Array.from({ length: 4 }, () => run(process.execPath, [program('increment.mjs'), arg])),
    );
    expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(Array(4).fill([0, '']));
    expect(readFileSync(counter, 'utf8')).toBe(String(4 * TIMES));
  });

  it('ranges of one file are locks of their own, between processes and within one', async () => {
    const file = path();
    const ranged = (start: number, length: number): InterProcessLock =>
      new InterProcessLock(file, { ...FCNTL, range: { start, length } });
    const first = await ranged(0, 10).acquire();
    const second = await ranged(10, 10).acquire();
    const other = Actor.start();
    for (const [start, length, free] of [
      [9, 1, false],
      [15, 100, false],
      [20, 1, true],
    ] as const) {
      await other.call('create', 'InterProcessLock', file, { ...FCNTL, range: { start, length } });
      expect(await other.call('tryAcquire')).toBe(free);
    }
    // Overlapping, in this process: excluded as well, and its wait ends when the other range is released.
    expect(ranged(5, 10).tryAcquire()).toBeNull();
    const overlapping = outcome(ranged(5, 10).acquire());
    first.release();
    await settle();
    expect(overlapping.state).toBe('pending');
    second.release();
    await until(() => overlapping.state === 'fulfilled');
    overlapping.value?.release();
    expect(new InterProcessLock(file, FCNTL).tryAcquire()).toBeNull(); // byte 20
    await other.kill();
    (await new InterProcessLock(file, FCNTL).acquire()).release();
  });

  it('acquireSync on a range that overlaps one of this thread throws instead of waiting for ever', async () => {
    const file = path();
    const handle = await new InterProcessLock(file, { ...FCNTL, range: { start: 0, length: 10 } }).acquire();
    expect(() => new InterProcessLock(file, { ...FCNTL, range: { start: 9, length: Infinity } }).acquireSync()).toThrow(
      LockDeadlockError,
    );
    expect(() => new InterProcessLock(file, FCNTL).acquireSync()).toThrow(LockDeadlockError);
    new InterProcessLock(file, { ...FCNTL, range: { start: 10, length: Infinity } }).acquireSync().release();
    handle.release();
  });

  it('range is checked', () => {
    const create = (options: object) => () => new InterProcessLock(path(), options);
    expect(create({ range: { start: 0, length: 1 } })).toThrow("only for mechanism 'fcntl'");
    expect(create({ ...FCNTL, range: { start: -1, length: 1 } })).toThrow(RangeError);
    expect(create({ ...FCNTL, range: { start: 0, length: 0 } })).toThrow(RangeError);
    expect(create({ ...FCNTL, range: { start: 0 } })).toThrow(TypeError);
    expect(create({ ...FCNTL, range: 5 })).toThrow(TypeError);
    expect(create({ ...FCNTL, range: { start: 0, length: 1 }, unlinkOnRelease: true })).toThrow(TypeError);
  });

  it('a directory is EISDIR', async () => {
    await expect(new InterProcessLock('/tmp', FCNTL).acquire()).rejects.toMatchObject({ code: 'EISDIR', path: '/tmp' });
  });

  it.runIf(isRoot)('needs write permission: EACCES, not a weaker lock', async () => {
    const file = path();
    writeFileSync(file, '', { mode: 0o444 });
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', file, FCNTL);
    needsOpenTmpdir();
    await actor.call('setuid', 65534);
    await expect(actor.call('acquire')).rejects.toMatchObject({ code: 'EACCES' });
  });
});

describe.runIf(!hasFcntl)('fcntl without the addon', () => {
  it('is an error at construction that says why', () => {
    expect(() => new InterProcessLock(path(), FCNTL)).toThrow(/native-fallback, which did not load/);
  });
});

import { existsSync, mkdirSync, rmdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, LockLostError } from '../../../src/index.js';
import { CLI, testFolder } from '../../support/paths.js';
import { Actor, LineProgram, program, run } from '../../support/programs.js';
import { isSoak } from '../../support/scale.js';
import { until } from '../../support/waiting.js';

const OPTIONS = { mechanism: 'lockfile', stale: 2000, update: 1000 } as const;
const PROGRAM = ['--input-type=module', '-e'];

describe('lockfile', () => {
  const { path } = testFolder();

  it('excludes plain proper-lockfile and is excluded by it', async () => {
    const { default: properLockfile } = await import('proper-lockfile');
    const lock = new InterProcessLock(path(), OPTIONS);
    writeFileSync(lock.path, '');
    const handle = await lock.acquire();
    expect(properLockfile.checkSync(lock.path)).toBe(true);
    await expect(properLockfile.lock(lock.path)).rejects.toMatchObject({ code: 'ELOCKED' });
    handle.release();
    const release = await properLockfile.lock(lock.path);
    expect(lock.tryAcquire()).toBeNull();
    await release();
    (await lock.acquire()).release();
  });

  it('a folder removed or taken under the holder aborts the signal', async () => {
    const remove = (folder: string): void => rmdirSync(folder);
    const replace = (folder: string): void => {
      rmdirSync(folder);
      mkdirSync(folder);
    };
    for (const loss of [remove, replace]) {
      const lock = new InterProcessLock(path(), OPTIONS);
      const handle = await lock.acquire();
      const aborted = new Promise((resolve) => handle.signal.addEventListener('abort', resolve));
      loss(`${lock.path}.lock`);
      await aborted;
      expect(handle.signal.reason).toBeInstanceOf(LockLostError);
      handle.release();
      expect(existsSync(`${lock.path}.lock`)).toBe(loss === replace);
    }
  });

  it('a missed heartbeat aborts the signal', async () => {
    const lock = new InterProcessLock(path(), OPTIONS);
    const handle = await lock.acquire();
    const aborted = new Promise((resolve) => handle.signal.addEventListener('abort', resolve));
    // Another program's time stamp: the folder is not as the last heartbeat left it.
    utimesSync(`${lock.path}.lock`, 1, 1);
    await aborted;
    expect(handle.signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST', path: lock.path });
    handle.release();
  });

  it("an owner that lost the lock and releases later does not remove its successor's folder", async () => {
    const lock = new InterProcessLock(path(), OPTIONS);
    const handle = await lock.acquire();
    const folder = `${lock.path}.lock`;
    rmdirSync(folder);
    const successor = Actor.start();
    await successor.call('create', 'InterProcessLock', lock.path, OPTIONS);
    await successor.call('acquire');
    handle.release();
    expect(existsSync(folder)).toBe(true);
    expect(lock.tryAcquire()).toBeNull();
  });

  it('the lock of a killed process is taken over once it is stale', async () => {
    const lock = new InterProcessLock(path(), OPTIONS);
    const holder = Actor.start();
    await holder.call('create', 'InterProcessLock', lock.path, OPTIONS);
    await holder.call('acquire');
    await holder.kill();
    expect(lock.tryAcquire()).toBeNull();
    utimesSync(`${lock.path}.lock`, 1, 1); // as if the time had passed
    (await lock.acquire()).release();
  });

  it('a file where the folder should be is an error, not a wait without end', async () => {
    const lock = new InterProcessLock(path(), OPTIONS);
    writeFileSync(`${lock.path}.lock`, '');
    await expect(lock.acquire()).rejects.toMatchObject({ code: 'ENOTDIR', path: `${lock.path}.lock` });
  });

  it('is loaded on first use; importing installs no listener', async () => {
    const listeners = "['SIGINT', 'SIGTERM', 'SIGHUP', 'exit'].map((name) => process.listenerCount(name)).join()";
    const program = `
      const before = ${listeners};
      const { InterProcessLock } = await import('fairlock');
      const lock = new InterProcessLock(${JSON.stringify(path())}, { mechanism: 'lockfile' });
      console.log(before === ${listeners}, Object.keys((await import('node:module')).default._cache).some((file) => file.includes('proper-lockfile')));
      lock.tryAcquire().release();
      console.log(Object.keys((await import('node:module')).default._cache).some((file) => file.includes('proper-lockfile')));`;
    const { stdout, stderr } = await run(process.execPath, [...PROGRAM, program]);
    expect([stdout, stderr]).toEqual(['true false\ntrue\n', '']);
  });

  it("'auto' without native layers falls back with one warning that carries a code; a name never falls back", async () => {
    const program = `
      import { InterProcessLock } from 'fairlock';
      process.on('warning', ({ name, code }) => console.log(name, code));
      console.log(new InterProcessLock('/tmp/a').mechanism, new InterProcessLock('/tmp/b').mechanism);
      try { new InterProcessLock('/tmp/a', { mechanism: 'flock' }) } catch ({ code, message }) { console.log(code, message) }`;
    const { stdout } = await run(process.execPath, ['--no-warnings', ...PROGRAM, program], {
      FAIRLOCK_DISABLE: 'fs-ext, native-fallback',
    });
    const [first, second, third] = stdout.split('\n');
    expect(first).toBe('lockfile lockfile');
    expect(second).toContain('ERR_LOCK_UNSUPPORTED');
    expect(second).toContain('/tmp/a');
    expect(second).toContain('switched off by FAIRLOCK_DISABLE');
    expect(third).toBe('FairlockWarning FAIRLOCK_FALLBACK');
    expect(stdout.trim().split('\n').length).toBe(3);
  });

  it('a process that ends leaves no folder', async () => {
    const file = path();
    const program = `import { InterProcessLock } from 'fairlock'; await new InterProcessLock(${JSON.stringify(file)}, { mechanism: 'lockfile' }).acquire();`;
    expect((await run(process.execPath, [...PROGRAM, program])).code).toBe(0);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});

describe('a lock folder that is held for a while', () => {
  const { path } = testFolder();
  const mtimeOf = (folder: string): number => statSync(folder).mtimeMs;

  it('is kept over many heartbeats, and the file after it is free', async () => {
    // proper-lockfile's shortest heartbeat is a second, and half of all values failed: so four locks over three of
    // them.
    const locks = Array.from({ length: 4 }, () => new InterProcessLock(path(), OPTIONS));
    const handles = await Promise.all(locks.map((lock) => lock.acquire()));
    const seen = locks.map(() => new Set<number>());
    await until(() => {
      for (const [i, lock] of locks.entries()) seen[i]?.add(mtimeOf(`${lock.path}.lock`));
      return seen.every((times) => times.size > 3);
    });
    expect(handles.map((handle) => handle.signal.aborted)).toEqual([false, false, false, false]);
    for (const [i, handle] of handles.entries()) {
      const other = await new InterProcessLock(locks[i]?.path ?? '', OPTIONS)
        .acquire({ timeout: 0 })
        .catch((error: { code: string }) => error.code);
      expect(other).toBe('ERR_LOCK_TIMEOUT');
      handle.release();
    }
    expect(locks.map((lock) => existsSync(`${lock.path}.lock`))).toEqual([false, false, false, false]);
  });

  it.runIf(isSoak)('a minute of stress: holders that keep it over two heartbeats, and never two of them', async () => {
    const file = path();
    const ran = await Promise.all([1, 2, 3].map(() => run(process.execPath, [program('long-holder.mjs'), file, '7'])));
    expect(ran.map(({ code, stdout, stderr }) => [code, stdout, stderr])).toEqual(ran.map(() => [0, 'kept 7\n', '']));
  });

  // Longer than other tests: the default heartbeat is five seconds.
  it('is kept by fairlock run as well', async () => {
    const file = path();
    const holder = new LineProgram(process.execPath, [
      CLI,
      ...['run', '--mechanism', 'lockfile', file, '--', 'sh', '-c', 'echo held; read line; echo done'],
    ]);
    expect(await holder.line()).toBe('held');
    const before = mtimeOf(`${file}.lock`);
    // The default heartbeat is five seconds: with one seen, the folder is fresh for another ten.
    await until(() => mtimeOf(`${file}.lock`) > before + 1000);
    expect(new InterProcessLock(file, { mechanism: 'lockfile' }).tryAcquire()).toBeNull();
    expect(await holder.ask('')).toBe('done');
    await until(() => !existsSync(`${file}.lock`));
  });

  it('a heartbeat that cannot be written is a loss; the folder that is still ours is removed on release', async () => {
    const { takeoverFs } = await import('../../../src/backends/lockfile/stale-takeover.js');
    const { default: properLockfile } = await import('proper-lockfile');
    const file = path();
    const fs = takeoverFs(2000);
    const beat = fs.utimesSync as (...args: unknown[]) => void;
    let fails = false;
    const failing = {
      ...fs,
      utimesSync: (...args: unknown[]) => {
        if (fails) throw Object.assign(new Error('no entry'), { code: 'ENOENT' });
        beat(...args);
      },
    };
    const compromised = new Promise<Error>((resolve) => {
      properLockfile.lockSync(file, {
        realpath: false,
        lockfilePath: `${file}.lock`,
        stale: 2000,
        update: 1000,
        fs: failing,
        onCompromised: resolve,
      });
    });
    fails = true;
    expect(await compromised).toMatchObject({ code: 'ECOMPROMISED' });
    expect(fs.isOurs(`${file}.lock`)).toBe(true);
    fs.rmdirSync(`${file}.lock`);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});

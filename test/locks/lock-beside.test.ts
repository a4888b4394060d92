import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, lockBeside } from '../../src/index.js';
import { hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { holdByFlock, isFreeForFlock, program, run, runScript } from '../support/programs.js';

const { path } = testFolder();

describe.runIf(hasFlock)('lockBeside', () => {
  it('locks a file beside the file, which it neither makes nor touches', async () => {
    const file = path();
    const lock = lockBeside(file);
    expect(lock).toBeInstanceOf(InterProcessLock);
    expect(lock.path).toBe(`${file}.lock`);
    const handle = await lock.acquire();
    expect([existsSync(file), isFreeForFlock(`${file}.lock`)]).toEqual([false, false]);
    handle.release();
  });

  it('is one lock for all names of the file', async () => {
    const [file, link] = [path(), path()];
    symlinkSync(file, link);
    expect(lockBeside(link).path).toBe(`${file}.lock`);
    expect(lockBeside(new URL(`file://${file}`)).path).toBe(`${file}.lock`);
  });

  it('no update is lost where the holder saves twice by renaming', async () => {
    const file = path();
    writeFileSync(file, '0');
    const all = await Promise.all([1, 2, 3].map(() => run(process.execPath, [program('saver.mjs'), file, '60'])));
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(all.map(() => [0, '']));
    expect(readFileSync(file, 'utf8')).toBe('180');
  });

  it('and proper-lockfile on the file never both hold', async () => {
    const { default: properLockfile } = await import('proper-lockfile');
    const file = path();
    writeFileSync(file, '{}');
    const release = await properLockfile.lock(file);
    await expect(lockBeside(file).acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      message: expect.stringContaining('proper-lockfile'),
    });
    await release();
    const handle = await lockBeside(file).acquire();
    await expect(properLockfile.lock(file, { stale: 2000 })).rejects.toThrow();
    handle.release();
  });

  it('refuses a folder in the place of its lock file', async () => {
    const file = path();
    mkdirSync(`${file}.lock`);
    expect(() => lockBeside(file).tryAcquire()).toThrow(expect.objectContaining({ code: 'ERR_LOCK_MISMATCH' }));
    rmdirSync(`${file}.lock`);
  });

  it('excludes Python and flock(1) that lock the file of that name', async () => {
    const file = path();
    const holder = await holdByFlock(`${file}.lock`);
    expect(lockBeside(file).tryAcquire()).toBeNull();
    await holder.letGo();
  });
});

describe.runIf(hasFlock)('a file with content that is locked itself', () => {
  const warningOf = async (options: object, content: string): Promise<string> => {
    const file = path();
    writeFileSync(file, content);
    const script = `
      import { InterProcessLock } from 'fairlock';
      process.on('warning', ({ code }) => console.log(code));
      for (let i = 0; i < 2; i++) new InterProcessLock(${JSON.stringify(file)}, ${JSON.stringify(options)}).tryAcquire().release();`;
    return (await runScript(script)).stdout;
  };

  it('is worth one warning, unless it is meant', async () => {
    expect(await warningOf({}, 'data')).toBe('FAIRLOCK_DATA_FILE\n');
    expect(await warningOf({ dataFile: true }, 'data')).toBe('');
    expect(await warningOf({}, '')).toBe('');
  });

  it('is not made unusable: a program that is locked can be executed, and its open file is not kept', async () => {
    const file = path();
    writeFileSync(`${file}.new`, '#!/bin/sh\necho ran\n', { mode: 0o755 });
    renameSync(`${file}.new`, file);
    const lock = new InterProcessLock(file, { dataFile: true });
    const handle = await lock.acquire();
    expect((await run(file, [])).stdout).toBe('ran\n');
    handle.release();
    expect((await run('sh', ['-c', `ls -l /proc/${process.pid}/fd | grep -c ${file} || true`])).stdout).toBe('0\n');
  });

  it('locking it opens nothing for writing', async () => {
    const file = path();
    writeFileSync(file, '');
    const handle = await new InterProcessLock(file).acquire();
    const flags = readFileSync(`/proc/self/fdinfo/${handle.fd}`, 'utf8');
    expect(Number.parseInt(/^flags:\s+(\d+)/m.exec(flags)?.[1] ?? '', 8) & 3).toBe(0);
    handle.release();
  });
});

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InterProcessLock } from '../../src/index.js';
import { canMount, hasFlock, isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { isFreeForFlock, program, track } from '../support/programs.js';
import { needs } from '../support/tools.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path } = testFolder();

describe.runIf(hasFlock && isRoot)('a file with a lease of another program (Samba)', () => {
  it.each(['acquire', 'acquireSync'])('is waited for until the lease is given up, %s', async (how) => {
    const file = path();
    writeFileSync(file, '');
    needs('python3');
    const leaser = track(spawn('python3', [program('leaser.py'), file], { stdio: ['pipe', 'pipe', 'inherit'] }));
    await new Promise((resolve) => leaser.stdout.once('data', resolve));
    const lock = new InterProcessLock(file, { unlinkOnRelease: true });
    expect(lock.tryAcquire()).toBeNull();
    if (how === 'acquireSync') {
      expect(() => lock.acquireSync({ timeout: 5 })).toThrow(expect.objectContaining({ code: 'ERR_LOCK_TIMEOUT' }));
      leaser.stdin.end();
      await new Promise((resolve) => leaser.once('exit', resolve));
      lock.acquireSync().release();
      return;
    }
    const waiting = lock.acquire();
    const seen = outcome(waiting);
    await settle();
    expect(seen.state).toBe('pending');
    leaser.stdin.end();
    (await waiting).release();
  });
});

describe.runIf(hasFlock && canMount)('a hard-linked file of the lower layer of an overlay', () => {
  const base = path();
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) => join(base, name)) as [
    string,
    string,
    string,
    string,
  ];
  let isMounted = false;

  beforeAll(() => {
    mkdirSync(base);
    // The upper layer must not be an overlay itself.
    spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', base]);
    for (const folder of [lower, upper, work, merged]) mkdirSync(folder);
    writeFileSync(join(lower, 'lock'), 'content');
    linkSync(join(lower, 'lock'), join(lower, 'other'));
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    isMounted = spawnSync('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged]).status === 0;
  });

  afterAll(() => {
    if (isMounted) spawnSync('umount', ['-l', merged]);
    spawnSync('umount', ['-l', base]);
  });

  it('is still the file that is locked when it has been copied up', async ({ skip }) => {
    skip(!isMounted, 'no overlay can be mounted');
    const lock = new InterProcessLock(join(merged, 'lock'), { dataFile: true });
    const handle = await lock.acquire();
    const { signal } = handle;
    chmodSync(lock.path, 0o600); // copies it up
    let looks = 0;
    await until(() => looks++ > 2 && (signal.aborted || !isFreeForFlock(lock.path)));
    await settle();
    expect(signal.aborted).toBe(false);
    handle.release();
    expect(existsSync(lock.path)).toBe(true);
  });
});

describe('a link whose target is not there', () => {
  it('makes the target where its folder is, and no folder where it is not, as flock(1) does', async () => {
    const folder = path();
    mkdirSync(folder);
    const [toFile, toFolder] = [join(folder, 'to-file'), join(folder, 'to-folder')];
    symlinkSync('target', toFile);
    symlinkSync('none/target', toFolder);
    for (const mechanism of ['flock', 'lockfile'] as const) {
      if (mechanism === 'flock' && !hasFlock) continue;
      const refusal = new InterProcessLock(toFolder, { followSymlinks: true, mechanism }).acquire();
      await expect(refusal).rejects.toMatchObject({ code: 'ENOENT' });
    }
    if (hasFlock) (await new InterProcessLock(toFile, { followSymlinks: true }).acquire()).release();
    expect([existsSync(join(folder, 'target')), existsSync(join(folder, 'none'))]).toEqual([hasFlock, false]);
  });
});

/** What full disks, limits, links and other users do to elections and to work that is done once. */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { LeaderElection, runOnce } from '../../src/cluster/index.js';
import { siblingPath } from '../../src/files/sibling-files.js';
import { canMount, hasFlock, hasParking, isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor, run, runProgram, runScript } from '../support/programs.js';
import { needs, needsOpenTmpdir } from '../support/tools.js';
import { outcome, until } from '../support/waiting.js';

const { folder, path } = testFolder();
beforeAll(() => chmodSync(folder, 0o755));

/** A small file system of its own. */
const disk = path('disk');
beforeAll(() => {
  mkdirSync(disk);
  if (canMount) spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
});
afterAll(() => void (canMount && spawnSync('umount', ['-l', disk])));

describe.runIf(hasFlock)('runOnce', () => {
  it.each([237, 238, 239])('a name of %d bytes, too long for the record, is refused before fn runs', async (length) => {
    const fn = vi.fn();
    await expect(runOnce(join(path(), 'x'.repeat(length)), fn, { key: 'k' })).rejects.toMatchObject({
      code: 'ENAMETOOLONG',
    });
    expect(fn).not.toHaveBeenCalled();
  });

  it('a file in the place of the folder of outcomes is found before fn runs', async () => {
    const file = path();
    writeFileSync(siblingPath(file, 'outcomes'), 'a file in the place of the folder');
    const fn = vi.fn();
    await expect(runOnce(file, fn, { key: 'k' })).rejects.toThrow();
    expect(fn).not.toHaveBeenCalled();
  });

  it.runIf(canMount)('a full disk is found before fn runs', async () => {
    const file = join(disk, 'full');
    writeFileSync(file, '');
    const filler = join(disk, 'filler');
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k']);
    const fn = vi.fn();
    await expect(runOnce(file, fn, { key: 'k' })).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(fn).not.toHaveBeenCalled();
    rmSync(filler);
    expect(await runOnce(file, () => 'done', { key: 'k' })).toBe('done');
    rmSync(file);
  });

  it.runIf(canMount)(
    'an outcome that does not fit is lost, but fn does not run again, and earlier outcomes stay',
    async () => {
      const file = join(disk, 'large');
      expect(await runOnce(file, () => 'a'.repeat(20_000), { key: 'first' })).toHaveLength(20_000);
      expect(await runOnce(file, () => 'b'.repeat(44_000), { key: 'second' })).toHaveLength(44_000);
      const again = vi.fn();
      await expect(runOnce(file, again, { key: 'second' })).rejects.toMatchObject({
        code: 'ERR_LOCK_OUTCOME_LOST',
        message: expect.stringContaining('ENOSPC'),
      });
      expect(await runOnce(file, again, { key: 'first' })).toBe('a'.repeat(20_000));
      expect(again).not.toHaveBeenCalled();
      rmSync(siblingPath(file, 'outcomes'), { recursive: true });
      rmSync(siblingPath(file, 'once'));
    },
  );

  it('under a limit of file sizes the old record stays whole', async () => {
    const file = path();
    const script = (key: string, bytes: number): string => `
      import { runOnce } from 'fairlock/cluster';
      const value = await runOnce(${JSON.stringify(file)}, () => 'x'.repeat(${bytes}), { key: '${key}' }).catch(({ code }) => code);
      console.log(value.length > 100 ? value.length : value);`;
    const limited = (key: string, bytes: number) =>
      run('bash', [
        '-c',
        'ulimit -f 24; exec "$@"',
        'bash',
        process.execPath,
        '--no-warnings',
        '--input-type=module',
        '-e',
        script(key, bytes),
      ]);
    expect((await limited('a', 15_000)).stdout).toBe('15000\n');
    // It ran, and its outcome does not fit.
    expect((await limited('b', 30_000)).stdout).toBe('30000\n');
    expect((await limited('b', 30_000)).stdout).toBe('ERR_LOCK_OUTCOME_LOST\n');
    expect((await limited('a', 15_000)).stdout).toBe('15000\n');
  });

  it('a lock file with a second name is refused: there would be two records', async () => {
    const [file, other] = [path(), path()];
    writeFileSync(file, '');
    linkSync(file, other);
    const fn = vi.fn();
    await expect(runOnce(file, fn, { key: 'k' })).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      message: expect.stringContaining('hard links'),
    });
    await expect(new LeaderElection(other).run(fn)).rejects.toMatchObject({ code: 'ERR_LOCK_MISMATCH' });
    expect(fn).not.toHaveBeenCalled();
  });

  it.runIf(canMount)('so is one that is mounted by itself', async () => {
    const [file, other] = [path(), path()];
    for (const one of [file, other]) writeFileSync(one, '');
    if (spawnSync('mount', ['--bind', file, other]).status !== 0) return;
    try {
      await expect(runOnce(other, () => {}, { key: 'k' })).rejects.toMatchObject({
        code: 'ERR_LOCK_MISMATCH',
        message: expect.stringContaining('mounted'),
      });
    } finally {
      spawnSync('umount', ['-l', other]);
    }
  });

  it.runIf(isRoot)('in a sticky folder the record of another user is refused before fn runs', async () => {
    needsOpenTmpdir();
    const where = path();
    mkdirSync(where);
    chmodSync(where, 0o1777);
    const file = join(where, 'lock');
    await runOnce(file, () => 1, { key: 'a', ignoreUmask: true });
    chmodSync(siblingPath(file, 'outcomes'), 0o1777);
    // An outcome that is over can be replaced by its owner only.
    await runOnce(file, () => 1, { key: 'b', ignoreUmask: true });
    const since = Date.now();
    await until(() => Date.now() > since + 1);
    const script = `
      import { runOnce } from 'fairlock/cluster';
      process.setgid(12345); process.setuid(12345);
      let ran = false;
      await runOnce(${JSON.stringify(file)}, () => { ran = true }, { key: 'b', keepFor: 1 }).catch(({ code, message }) => console.log(code, /sticky/.test(message), ran));
      console.log(await runOnce(${JSON.stringify(file)}, () => 2, { key: 'a' }));`;
    expect((await runScript(script)).stdout).toBe('EPERM true false\n1\n');
  });
});

describe.runIf(hasFlock)('an election', () => {
  it.runIf(canMount)('on a full disk: candidates say so, stay, and lead when there is space', async () => {
    const file = join(disk, 'leader');
    writeFileSync(file, '');
    const filler = join(disk, 'filler');
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k']);
    const [one, other] = [new LeaderElection(file), new LeaderElection(file)];
    const errors: string[] = [];
    for (const election of [one, other])
      election.on('tokenError', (error) => errors.push((error as NodeJS.ErrnoException).code ?? ''));
    const led: number[] = [];
    const loop = (async () => {
      for await (const { token } of one) {
        led.push(token);
        break;
      }
    })();
    const running = other.run(({ token }) => led.push(token));
    await until(() => errors.length >= 2);
    expect(new Set(errors)).toEqual(new Set(['ENOSPC']));
    rmSync(filler);
    await Promise.all([loop, running]);
    expect(led.length).toBe(2);
    expect(led[0]).not.toBe(led[1]);
  });

  it.runIf(canMount)(
    'a candidate that cannot write its token ends with its signal, its timeout and close()',
    async () => {
      const file = join(disk, 'leader2');
      writeFileSync(file, '');
      const filler = join(disk, 'filler2');
      spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k']);
      const election = new LeaderElection(file);
      const controller = new AbortController();
      const aborted = outcome(election.run(() => {}, { signal: controller.signal }));
      const closed = outcome(election.run(() => {}));
      let told = 0;
      election.on('tokenError', () => told++);
      await until(() => told > 0);
      controller.abort(new Error('enough'));
      await until(() => aborted.state === 'rejected');
      expect(aborted.reason).toMatchObject({ message: 'enough' });
      election.close();
      await until(() => closed.state === 'rejected');
      expect(closed.reason).toMatchObject({ code: 'ERR_LOCK_CLOSED' });
      rmSync(filler);
    },
  );

  it('the loop of the docs ends quietly when the election is closed while it sleeps', async () => {
    const { stdout, stderr, code } = await runProgram('sleeping-leader.mjs', [path()]);
    expect([code, stderr, stdout]).toEqual([0, '', 'ended\n']);
  });

  it.runIf(isRoot)(
    'names no leader where the recorded pid is now of a process that cannot be looked into, and the lock is free',
    async () => {
      needsOpenTmpdir();
      const where = path();
      mkdirSync(where);
      const file = join(where, 'lock');
      writeFileSync(file, '', { mode: 0o666 });
      chmodSync(file, 0o666);
      const leader = { pid: 1, thread: 0, command: 'init', since: new Date().toISOString() };
      writeFileSync(
        siblingPath(file, 'leader'),
        `${JSON.stringify({ format: 'fairlock-leader 1', token: 5, leader })}\n`,
      );
      const script = `
      import { LeaderElection } from 'fairlock/cluster';
      process.setgid(12345); process.setuid(12345);
      console.log(new LeaderElection(${JSON.stringify(file)}).leader());`;
      expect((await runScript(script)).stdout).toBe('null\n');
    },
  );

  it('a link that is pointed elsewhere while a candidate runs: tokens are those of the folder that is locked', async () => {
    const base = path();
    for (const name of ['old', 'new']) mkdirSync(join(base, name), { recursive: true });
    symlinkSync('old', join(base, 'link'));
    const file = join(base, 'link/lock');
    const before = new LeaderElection(file);
    await before.run(() => {});
    symlinkSync('new', join(base, 'link2'));
    renameSync(join(base, 'link2'), join(base, 'link'));
    const after = new LeaderElection(file);
    const tokens: number[] = [];
    for (const election of [after, before, after, before])
      await election.run(({ token }) => tokens.push(token)).catch(() => {});
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(existsSync(join(base, 'new/.lock.fairlock-leader'))).toBe(true);
  });
});

describe.runIf(hasParking && isRoot)('a reader of the sidecar that locks all of it', () => {
  it('is told from a waiter: the event loop goes on, and the request is refused with its name', async () => {
    needs('python3');
    const file = path();
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', file, { fairness: 'fifo' });
    await actor.call('acquire');
    const sidecar = siblingPath(file, 'queue');
    const reader: ChildProcess = (await import('node:child_process')).spawn('python3', [
      '-c',
      `import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, 37, struct.pack('hhqqi', fcntl.F_RDLCK, 0, 4096, 0, 0))
print('locked', flush=True)
sys.stdin.read()`,
      sidecar,
    ]);
    try {
      await new Promise((resolve) => reader.stdout?.once('data', resolve));
      const { InterProcessLock } = await import('../../src/index.js');
      const lock = new InterProcessLock(file, { fairness: 'fifo' });
      await expect(lock.acquire({ timeout: 1000 })).rejects.toMatchObject({ code: 'ERR_LOCK_MISMATCH', path: sidecar });
      await actor.call('release');
      (await lock.acquire()).release();
    } finally {
      reader.kill();
    }
  });
});

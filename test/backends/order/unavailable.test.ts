/** Where there can be no queue: 'auto' goes on in the kernel's order, 'fifo' says which file is in the way. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sidecarOf } from '../../../src/files/sibling-files.js';
import { InterProcessLock, type InterProcessReaderWriterLock } from '../../../src/index.js';
import { canMount, hasFcntl, isRoot } from '../../support/capabilities.js';
import { openDescriptors, testFolder } from '../../support/paths.js';
import { Actor, lyingFlock, run, runProgram } from '../../support/programs.js';
import { makeSocket, needsOpenTmpdir } from '../../support/tools.js';

const { path } = testFolder();
const lying = lyingFlock();
const cli = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));

const planted: Record<string, (sidecar: string) => void> = {
  'a folder': (sidecar) => mkdirSync(sidecar),
  'a link': (sidecar) => symlinkSync('elsewhere', sidecar),
  'a FIFO': (sidecar) => void spawnSync('mkfifo', [sidecar]),
  'a socket': makeSocket,
};

async function works(make: () => InterProcessLock | InterProcessReaderWriterLock): Promise<void> {
  const lock = make();
  const read = lock instanceof InterProcessLock ? lock.acquire() : lock.acquireWrite({ timeout: 1000 });
  const handle = await read;
  const other = lock instanceof InterProcessLock ? lock.acquire() : lock.acquireWrite();
  handle.release();
  (await other).release();
  expect(lock.inspect().fairness).toBe('kernel');
}

describe.runIf(hasFcntl)('a queue that cannot be had', () => {
  for (const [name, plant] of Object.entries(planted)) {
    it(`${name} in place of the sidecar`, async () => {
      const file = path();
      plant(sidecarOf(file));
      const before = openDescriptors();
      await works(() => new InterProcessLock(file, { fairness: 'auto' }));
      const refusal = await new InterProcessLock(file, { fairness: 'fifo' }).acquire().catch((error) => error);
      expect([refusal.path, refusal.message]).toEqual([sidecarOf(file), expect.stringContaining(sidecarOf(file))]);
      expect(openDescriptors() - before).toBeLessThan(4);
    });
  }

  describe.runIf(canMount)('a file system without room for another file', () => {
    const mount = path('full');
    beforeAll(() => {
      mkdirSync(mount);
      spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,nr_inodes=4', 'none', mount]);
      for (const name of ['lock', 'a', 'b']) writeFileSync(join(mount, name), '', { flag: 'a' });
    });
    afterAll(() => void spawnSync('umount', ['-l', mount]));

    it('is no reason to refuse a lock', async () => {
      const file = join(mount, 'lock');
      await works(() => new InterProcessLock(file, { fairness: 'auto' }));
      await expect(new InterProcessLock(file, { fairness: 'fifo' }).acquire()).rejects.toMatchObject({
        code: 'ENOSPC',
        path: sidecarOf(file),
      });
      expect(await run(process.execPath, [cli, 'run', '--fair', file, '--', 'true'])).toMatchObject({
        code: 73,
        stderr: `fairlock: cannot open ${sidecarOf(file)}: no space left on device\n`,
      });
    });
  });

  it.runIf(lying !== undefined)('where files have no link count, nothing spins', async () => {
    const { stdout, stderr } = await runProgram('no-link-count.mjs', [path()], { LD_PRELOAD: lying, LIE: 'nlink' });
    expect([stderr, stdout]).toEqual(['', 'auto fifo\nfifo fifo\n']);
  });

  it.runIf(lying !== undefined)('a try that is refused leaves no descriptor open', async () => {
    const { stdout, stderr } = await runProgram('refused-tries.mjs', [path(), path()], { LD_PRELOAD: lying });
    expect([stderr, stdout]).toEqual(['', 'true ERR_LOCK_UNSUPPORTED\n']);
  });

  it.runIf(isRoot)('for another user that may not write: auto goes on', async () => {
    const file = path();
    writeFileSync(file, '', { mode: 0o644 });
    writeFileSync(sidecarOf(file), '', { mode: 0o600 });
    const actor = Actor.start();
    needsOpenTmpdir();
    await actor.call('setuid', 65534);
    await actor.call('create', 'InterProcessLock', file, { fairness: 'auto' });
    expect(await actor.call('tryAcquire')).toBe(true);
  });
});

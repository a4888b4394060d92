import {
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { takeRemovalLock } from '../../../src/backends/kernel/removal-lock.js';
import { OpenFile } from '../../../src/files/open-file.js';
import { InterProcessLock } from '../../../src/index.js';
import { needByteRanges } from '../../../src/native/addon.js';
import { fileNameOf } from '../../../src/web-locks/file-names.js';
import { LockManager } from '../../../src/web-locks/index.js';
import { holdBytes, REMOVING } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { sleepsOf } from '../../support/programs.js';
import { isSoak } from '../../support/scale.js';
import { until } from '../../support/waiting.js';
import { WebLocksProcess } from '../../support/web-locks-clients.js';

const { path } = testFolder();

/** A process that steals the lock 'n', where another one has begun to remove its file: returns when it waits for that. */
async function stealDuringRemoval(directory: string) {
  const stealer = await WebLocksProcess.start(directory);
  mkdirSync(directory, { recursive: true });
  const endRemoval = holdBytes(join(directory, fileNameOf('n')), REMOVING);
  const isAnswered = (): boolean => stealer.told.some(({ ready }) => !ready);
  const steal = stealer.request('n', { steal: true });
  await until(() => readdirSync(directory).some((name) => name.includes('steal-')) || isAnswered());
  const before = sleepsOf(stealer.child.pid);
  await until(() => sleepsOf(stealer.child.pid) > before + 3 || isAnswered());
  return { stealer, steal, endRemoval };
}

describe.runIf(hasFcntl && process.platform === 'linux')('a steal while a process removes the file', () => {
  // That process may not run for a while between its look at the path and the unlink.
  it('waits for it: the file that it puts there is not the one that is unlinked', async () => {
    const directory = path();
    const { stealer, steal, endRemoval } = await stealDuringRemoval(directory);
    unlinkSync(join(directory, fileNameOf('n')));
    endRemoval();
    await stealer.until('granted', steal);
    expect(await new LockManager(directory).request('n', { ifAvailable: true }, (lock) => lock)).toBe(null);
    stealer.send({ release: steal });
    await stealer.until('done', steal);
    expect(stealer.told.filter(({ lost }) => lost)).toEqual([]);
    await until(() => readdirSync(directory).length === 0);
  });

  it.runIf(isSoak)('is refused where that process is stopped, and nothing has changed', async () => {
    const directory = path();
    const { stealer, steal, endRemoval } = await stealDuringRemoval(directory);
    const message = await stealer.until('message', steal);
    expect(message).toMatch(/^EBUSY: .* rename '.*' \(another process is removing it/);
    expect(readdirSync(directory)).toEqual([fileNameOf('n')]);
    endRemoval();
  });
});

describe.runIf(hasFcntl)('the removal lock', () => {
  it('is not had by two: a file that another process is taking away is left to it', () => {
    const lock = new InterProcessLock(path(), { mechanism: 'flock', unlinkOnRelease: true });
    const handle = lock.tryAcquire();
    const endRemoval = holdBytes(lock.path, REMOVING);
    handle?.release();
    expect(existsSync(lock.path)).toBe(true);
    endRemoval();
    lock.tryAcquire()?.release();
    expect(existsSync(lock.path)).toBe(false);
  });

  /** As a process has it that may write the file, or only read it. */
  function opened(file: string, access: 'r+' | 'r'): OpenFile {
    const fd = openSync(file, access);
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return new OpenFile(fd, dev, ino, access === 'r+', true);
  }

  const take = (file: string, open: OpenFile): boolean =>
    takeRemovalLock(needByteRanges(file, 'a test'), { path: file, mode: 0o666, followSymlinks: false }, open);

  it.each([
    ['r+', 'r+'],
    ['r+', 'r'],
    ['r', 'r+'],
    ['r', 'r'],
  ] as const)('is of one process, also where they may only read the file: %s, then %s', (first, second) => {
    const file = path();
    writeFileSync(file, '');
    const [one, other, next] = [opened(file, first), opened(file, second), opened(file, second)];
    expect([take(file, one), take(file, other)]).toEqual([true, false]);
    other.close();
    one.close();
    expect(take(file, next)).toBe(true);
    next.close();
  });

  it.each(['r+', 'r'] as const)('is not of a file that is at the path no more: %s', (access) => {
    const file = path();
    writeFileSync(file, '');
    const open = opened(file, access);
    renameSync(file, path('taken away'));
    writeFileSync(file, '');
    expect(take(file, open)).toBe(false);
    open.close();
  });
});

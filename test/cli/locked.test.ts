import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, InterProcessSemaphore } from '../../src/index.js';
import { hasFcntl } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { holdByFlock, run } from '../support/programs.js';
import { isSoak, some } from '../support/scale.js';

const locked = async (file: string): Promise<unknown[]> => {
  const { code, stdout, stderr } = await run(process.execPath, [CLI, 'locked', file]);
  return [code, stdout, stderr];
};
const { path } = testFolder();

describe.runIf(hasFcntl)('fairlock locked', () => {
  it('no file: free, and none is made', async () => {
    const file = path();
    expect(await locked(file)).toEqual([1, 'free\n', '']);
    expect(existsSync(file)).toBe(false);
  });

  const kinds = [
    ['flock', (file: string) => new InterProcessLock(file, { mechanism: 'flock' }).tryAcquire()],
    ['fcntl', (file: string) => new InterProcessLock(file, { mechanism: 'fcntl' }).tryAcquire()],
    ['a lock folder', (file: string) => new InterProcessLock(file, { mechanism: 'lockfile' }).tryAcquire()],
    ['a semaphore', (file: string) => new InterProcessSemaphore(file, { permits: 3 }).tryAcquire()],
  ] as const;
  it.each(some(kinds, 4))('held with %s, then free', async (_what, hold) => {
    const file = path();
    const handle = hold(file);
    expect(await locked(file)).toEqual([0, 'locked\n', '']);
    handle?.release();
    expect(await locked(file)).toEqual([1, 'free\n', '']);
  });

  it.runIf(isSoak)('a file with content, by a link: no warning', async () => {
    const [file, link] = [path(), path()];
    writeFileSync(file, 'content');
    symlinkSync(file, link);
    const holder = await holdByFlock(file);
    expect(await locked(link)).toEqual([0, 'locked\n', '']);
    await holder.letGo();
    expect(await locked(link)).toEqual([1, 'free\n', '']);
  });

  it('held by flock(1), on a folder too', async () => {
    const folder = path();
    mkdirSync(folder);
    const holder = await holdByFlock(folder);
    expect((await locked(folder))[0]).toBe(0);
    await holder.letGo();
    expect((await locked(folder))[0]).toBe(1);
  });

  it('says what cannot be opened', async () => {
    const file = path();
    writeFileSync(file, '');
    expect(await locked(join(file, 'below'))).toEqual([66, '', expect.stringContaining('not a directory')]);
  });
});

import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InterProcessLock } from '../../src/index.js';
import { getLockPath, lock, setDefaults } from '../../src/lockutils/index.js';
import { temporaryLockPath } from '../../src/testing/index.js';
import { hasFlock } from '../support/capabilities.js';

describe('temporaryLockPath', () => {
  it('sets the lock path and restores it, removing the folder', async () => {
    setDefaults({ lockPath: '/before' });
    let path: string;
    {
      using folder = temporaryLockPath();
      path = folder.path;
      expect(getLockPath()).toBe(path);
      expect(folder.file('x')).toBe(`${path}/x`);
      (await lock('a', { external: true, fair: true })).release();
    }
    expect([getLockPath(), existsSync(path)]).toEqual(['/before', false]);
    setDefaults({ lockPath: undefined });
    temporaryLockPath().remove();
    expect(getLockPath()).toBe(process.env.OSLO_LOCK_PATH || undefined);
  });

  it('of tests that overlap is that of the last one that is left, never a folder that is gone', () => {
    setDefaults({ lockPath: undefined });
    const [a, b, c] = [temporaryLockPath(), temporaryLockPath(), temporaryLockPath()];
    a.remove();
    expect(getLockPath()).toBe(c.path);
    c.remove();
    expect(getLockPath()).toBe(b.path);
    b.remove();
    expect(getLockPath()).toBe(process.env.OSLO_LOCK_PATH || undefined);
  });

  it.runIf(hasFlock)('reports locks that are still held, and cleans up all the same', async () => {
    const folder = temporaryLockPath();
    const handle = await new InterProcessLock(folder.file('forgotten')).acquire();
    expect(() => folder.remove()).toThrow(`still held at the end of the test: ${folder.file('forgotten')}`);
    expect(existsSync(folder.path)).toBe(false);
    folder.remove();
    handle.release();
  });

  it('reports a lockfile that is still held', async () => {
    const folder = temporaryLockPath();
    const handle = await new InterProcessLock(folder.file('x'), { mechanism: 'lockfile' }).acquire();
    expect(() => folder.remove()).toThrow(/still held.*x\.lock/);
    handle.release();
  });

  it('hangs itself on the end of a vitest or node:test test', (context) => {
    const { path } = temporaryLockPath(context);
    const callbacks: (() => void)[] = [];
    const other = temporaryLockPath({ after: (callback) => callbacks.push(callback) });
    expect([existsSync(path), existsSync(other.path)]).toEqual([true, true]);
    for (const callback of callbacks) callback();
    expect(existsSync(other.path)).toBe(false);
  });
});

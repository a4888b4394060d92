import { closeSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { Sidecar } from '../../../src/backends/order/sidecar.js';
import { InterProcessLock, InterProcessReaderWriterLock } from '../../../src/index.js';
import { needByteRanges } from '../../../src/native/addon.js';
import { NativeFile } from '../../../src/native/native-file.js';
import { ASKING, holdBytes } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { sleepsOf } from '../../support/programs.js';

const { path } = testFolder();
const ALL = { start: 0, length: 0 };

describe.runIf(hasFcntl && process.platform === 'linux')('a try while another process asks isLocked', () => {
  it('does not wait for a process that asks for ever, or pretends to: it needs only the right to read the file', async () => {
    const file = path();
    const ends = [holdBytes(file, ASKING, 'shared'), holdBytes(file, undefined, 'shared')];
    // Null, while the other goes on asking. With a wait on this thread the test's own limit would end it.
    const lock = new InterProcessLock(file, { mechanism: 'flock' });
    const before = sleepsOf(process.pid);
    expect(lock.tryAcquire()).toBe(null);
    expect(sleepsOf(process.pid) - before).toBeLessThan(10);
    for (const end of ends) end();
    lock.tryAcquire()?.release();
  });

  it('does not take a lock of the whole file, by fcntl, for a question', () => {
    const file = path();
    const fd = openSync(file, 'a+');
    const seen = new NativeFile(needByteRanges(file, 'a test'), fd, {
      path: file,
      followSymlinks: false,
      range: undefined,
    });
    for (const [range, isQuestion] of [
      [ASKING, true],
      [ALL, false],
    ] as const) {
      const end = holdBytes(file, range, 'shared');
      expect(seen.isProbed()).toBe(isQuestion);
      end();
    }
    closeSync(fd);
  });
});

describe.runIf(hasFcntl)('a reader that releases a lock whose file is to be removed', () => {
  it('leaves nothing where another process removes all of it at that very moment', async () => {
    const folder = path();
    mkdirSync(folder);
    const lock = new InterProcessReaderWriterLock(join(folder, 'lock'), { fairness: 'fifo', unlinkOnRelease: true });
    const handle = await lock.acquireRead();
    // The last holder, between the reader's look for a sidecar and its opening it.
    const look = vi.spyOn(Sidecar.prototype, 'exists').mockImplementationOnce(() => {
      for (const name of readdirSync(folder)) rmSync(join(folder, name));
      return true;
    });
    handle.release();
    expect([look.mock.calls.length, readdirSync(folder)]).toEqual([1, []]);
    look.mockRestore();
  });
});

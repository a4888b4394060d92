import { closeSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { needByteRanges } from '../../../src/native/addon.js';
import { NativeFile } from '../../../src/native/native-file.js';
import { ASKING, holdBytes } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { Actor, sleepsOf } from '../../support/programs.js';
import { outcome, until } from '../../support/waiting.js';

const { path } = testFolder();
const ALL = { start: 0, length: 0 };

describe.runIf(hasFcntl && process.platform === 'linux')('a try while another process asks isLocked', () => {
  it('does not take the question for a holder, also if that process does not run for a while', async () => {
    const file = path();
    const ends = [holdBytes(file, ASKING, 'shared'), holdBytes(file, undefined, 'shared')];
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', file, { mechanism: 'flock' });
    const tried = outcome(actor.call<boolean>('tryAcquire'));
    const before = sleepsOf(actor.child.pid);
    await until(() => sleepsOf(actor.child.pid) > before + 3 || tried.state !== 'pending');
    for (const end of ends) end();
    await until(() => tried.state === 'fulfilled');
    expect(tried.value).toBe(true);
  });

  it('does not take a lock of the whole file, by fcntl, for a question', () => {
    const file = path();
    const fd = openSync(file, 'a+');
    const seen = new NativeFile(needByteRanges(file, 'a test'), fd, { path: file, followSymlinks: false, range: ALL });
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

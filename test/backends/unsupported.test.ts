import { describe, expect, it } from 'vitest';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { lyingFlock, run } from '../support/programs.js';

const { path } = testFolder();
const preload = lyingFlock();

/** Locks in a process whose system calls answer as a file system without locks does. */
async function lock(
  options: object,
  method: string,
): Promise<{ name: string; code: string; cause?: string; message: string }> {
  const script = `
    import { InterProcessLock } from 'fairlock';
    const lock = new InterProcessLock(${JSON.stringify(path())}, ${JSON.stringify(options)});
    try {
      await lock.${method}();
    } catch ({ name, code, message, cause }) {
      console.log(JSON.stringify({ name, code, message, cause: cause?.code }));
    }`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
    LD_PRELOAD: preload,
    LIE: 'ENOLCK',
  });
  return JSON.parse(stdout);
}

describe.runIf(preload !== undefined)('a file system without locks', () => {
  it.runIf(hasFlock).each(['acquire', 'tryAcquire', 'acquireSync'])(
    'is LockUnsupportedError, never a silent success: flock, %s',
    async (method) => {
      expect(await lock({}, method)).toMatchObject({
        name: 'LockUnsupportedError',
        cause: 'ENOLCK',
        message: expect.stringContaining('are refused here (ENOLCK)'),
      });
    },
  );

  it.runIf(hasFcntl).each([{ mechanism: 'fcntl' }, { fairness: 'fifo' }])('is an error: %j', async (options) => {
    expect(await lock(options, 'acquire')).toMatchObject({ name: 'LockUnsupportedError', cause: 'ENOLCK' });
  });
});

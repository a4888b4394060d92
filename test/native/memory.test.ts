import { describe, expect, it } from 'vitest';
import { hasFcntl } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { lyingFlock, preloaded, program, run, runProgram } from '../support/programs.js';
import { rounds } from '../support/scale.js';
import { needs } from '../support/tools.js';

const { folder, path } = testFolder();
const failing = preloaded('failing-malloc.c');
const bigTls = lyingFlock(`-DTLS_BYTES=${512 * 1024}`);

describe.runIf(hasFcntl && failing !== undefined)('an allocation of the addon that fails', () => {
  const MOST = 40;
  const step = rounds(5, 1);

  for (let at = 1; at <= MOST; at += step) {
    it(`is an error or nothing, never the end of the process: the ${at}th`, async () => {
      needs('flock');
      const { code, signal, stdout } = await run(process.execPath, [program('short-of-memory.mjs'), folder], {
        LD_PRELOAD: failing,
        FAIL_AT: String(at),
        NODE_NO_WARNINGS: '1',
      });
      expect([signal, code, stdout]).toEqual([null, 0, 'alive\n']);
    });
  }

  it('and all that follow', async () => {
    needs('flock');
    const { code, signal, stdout } = await run(process.execPath, [program('short-of-memory.mjs'), folder], {
      LD_PRELOAD: failing,
      FAIL_AT: '1',
      FAIL_ALL: '1',
      NODE_NO_WARNINGS: '1',
    });
    expect([signal, code, stdout]).toEqual([null, 0, 'alive\n']);
  });
});

describe.runIf(hasFcntl && bigTls !== undefined)('libraries with many thread-local bytes', () => {
  it('leave room on the stack of a thread that waits', async () => {
    needs('flock');
    // Node itself says on stderr that one of its threads, with a small stack, did not start.
    const { code, stdout } = await runProgram('parked-thread.mjs', [path()], { LD_PRELOAD: bigTls });
    expect([code, stdout]).toEqual([0, '1 parked\ngranted\n']);
  });
});

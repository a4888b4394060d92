/**
 * A process may be interrupted between any two system calls, and seldom is just there. Here the system calls of three
 * processes that compete are delayed by strace, so that what takes microseconds takes milliseconds.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { hasFcntl, hasStrace } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { program, run } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

const { path } = testFolder();
const TIMES = 40;
const DELAYS = ['delay_exit=1500:when=3+7', 'delay_enter=2500:when=2+5', 'delay_enter=700:when=1+3'];
const CALLS = ['flock', 'fcntl', 'unlink', 'newfstatat', 'openat'];
const LOCKS = [
  { mechanism: 'flock', fairness: 'kernel', unlinkOnRelease: true },
  { mechanism: 'flock', fairness: 'fifo', unlinkOnRelease: true },
  { mechanism: 'fcntl', fairness: 'fifo', unlinkOnRelease: true },
];

describe.runIf(isSoak && hasFcntl && hasStrace)('delayed system calls lose no increment', () => {
  it.each(LOCKS.flatMap((options) => CALLS.map((call) => [call, options] as const)))(
    '%s, %j',
    async (call, options) => {
      const counter = path();
      writeFileSync(counter, '0');
      const task = JSON.stringify({ path: path(), counter, times: TIMES, options });
      const ran = await Promise.all(
        DELAYS.map((delay) => {
          const strace = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:${delay}`];
          return run('strace', [...strace, process.execPath, program('increment.mjs'), task]);
        }),
      );
      expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(ran.map(() => [0, '']));
      expect(Number(readFileSync(counter, 'utf8'))).toBe(TIMES * DELAYS.length);
    },
  );
});

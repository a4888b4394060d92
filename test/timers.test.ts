import { describe, expect, it } from 'vitest';
import { hasFlock } from './support/capabilities.js';
import { testFolder } from './support/paths.js';
import { runScript } from './support/programs.js';
import { needs } from './support/tools.js';

const { path } = testFolder();

/** What a test environment may do to the timers before or after the library is loaded. */
const NUMERIC = `
  const real = { setTimeout, setInterval, clearTimeout, clearInterval };
  const timers = new Map();
  let next = 1;
  for (const name of ['setTimeout', 'setInterval']) {
    globalThis[name] = (...args) => (timers.set(next, real[name](...args)), next++);
  }
  for (const name of ['clearTimeout', 'clearInterval']) globalThis[name] = (id) => real[name](timers.get(id));`;

describe.runIf(hasFlock)('timers', () => {
  it('that are numbers break no lock', async () => {
    needs('flock');
    const file = path();
    const script = `
      ${NUMERIC}
      const { InterProcessLock } = await import('fairlock');
      const { spawnSync } = await import('node:child_process');
      const isFree = () => spawnSync('flock', ['-n', ${JSON.stringify(file)}, 'true']).status === 0;
      const lock = new InterProcessLock(${JSON.stringify(file)});
      for (let round = 0; round < 3; round++) {
        const handle = await lock.acquire();
        const held = !isFree();
        const late = await lock.acquire({ timeout: 5 }).catch(({ code }) => code);
        handle.signal;
        handle.release();
        console.log(held, late, isFree());
      }`;
    const { stdout, stderr } = await runScript(script);
    expect([stderr, stdout]).toEqual(['', 'true ERR_LOCK_TIMEOUT true\n'.repeat(3)]);
  });

  it('that are faked when the library is first used do not stop its housekeeping', async () => {
    const script = `
      import { mock } from 'node:test';
      import { readdirSync, readlinkSync } from 'node:fs';
      import { InterProcessLock } from 'fairlock';
      const file = ${JSON.stringify(path())};
      const open = () => readdirSync('/proc/self/fd').filter((fd) => { try { return readlinkSync('/proc/self/fd/' + fd) === file } catch { return false } }).length;
      mock.timers.enable();
      (await new InterProcessLock(file).acquire()).release();
      console.log(open());
      mock.timers.reset();
      while (open() > 0) await new Promise((resolve) => setImmediate(resolve));
      console.log('closed');`;
    const { stdout, stderr } = await runScript(script);
    expect([stderr, stdout]).toEqual(['', '1\nclosed\n']);
  });
});

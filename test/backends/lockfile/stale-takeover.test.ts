import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { instanceOf } from '../../../src/backends/lockfile/stale-takeover.js';
import { InterProcessLock } from '../../../src/index.js';
import { testFolder } from '../../support/paths.js';
import { LineProgram, program } from '../../support/programs.js';
import { until } from '../../support/waiting.js';

const LONG_AGO = new Date(Date.now() - 3_600_000);

function makeStale(folder: string): void {
  mkdirSync(folder, { recursive: true });
  utimesSync(folder, LONG_AGO, LONG_AGO);
}

describe('taking over a stale lock folder', () => {
  const { path } = testFolder();

  /** The slower of two has seen the stale folder; the faster one takes the lock; the slower one goes on. */
  async function race(cured: 'plain' | 'cured'): Promise<string[]> {
    const file = path();
    makeStale(`${file}.lock`);
    const slow = new LineProgram(process.execPath, [program('takeover.mjs'), file, cured, 'pause']);
    await until(() => existsSync(`${file}.paused`));
    const fast = new LineProgram(process.execPath, [program('takeover.mjs'), file, cured]);
    const first = await fast.line();
    writeFileSync(`${file}.go`, '');
    return [first, await slow.line()];
  }

  it('plain proper-lockfile: the slower of two removes the fresh lock of the faster one, and both hold', async () => {
    expect(await race('plain')).toEqual(['held', 'held']);
  });

  it('cured: one of them holds', async () => {
    expect(await race('cured')).toEqual(['held', 'ELOCKED']);
  });

  it('a claim whose maker died is claimed in turn, and none is left over', async () => {
    const file = path();
    const folder = `${file}.lock`;
    makeStale(folder);
    makeStale(`${folder}.takeover-${instanceOf(statSync(folder, { bigint: true }))}`);
    const handle = await new InterProcessLock(file, { mechanism: 'lockfile' }).acquire();
    handle.release();
    expect(readdirSync(dirname(file)).filter((name) => name.startsWith(`${basename(file)}.lock`))).toEqual([]);
  });

  it('a fresh claim of another process is respected', () => {
    const file = path();
    const folder = `${file}.lock`;
    makeStale(folder);
    mkdirSync(`${folder}.takeover-${instanceOf(statSync(folder, { bigint: true }))}`);
    expect(new InterProcessLock(file, { mechanism: 'lockfile' }).tryAcquire()).toBeNull();
  });
});

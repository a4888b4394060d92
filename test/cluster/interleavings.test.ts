/**
 * The protocol of records, with real files: two holders in turn, where the first loses its lock at some step (it was
 * stopped there, and the second ran all of its own meanwhile), is killed there, or has a system call fail. Whatever
 * happens, a record is the old one or a new one, or the writer is told; never damaged, never written to a file of
 * others, and of one key never two outcomes.
 */
import * as nodeFs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RecordFs } from '../../src/cluster/draft.js';
import { type Done, FileOutcomes } from '../../src/cluster/outcomes.js';
import { RecordFile } from '../../src/cluster/record.js';
import { systemError } from '../../src/errors.js';
import { LockPlace } from '../../src/files/lock-place.js';
import { testFolder } from '../support/paths.js';
import { rounds } from '../support/scale.js';

const { path } = testFolder();
const OPTIONS = { mode: 0o666, ignoreUmask: false };
const ERRNOS = { EIO: 5, ENOSPC: 28, EACCES: 13 };
const calls = [
  'openSync',
  'writeSync',
  'ftruncateSync',
  'fsyncSync',
  'fchmodSync',
  'fchownSync',
  'closeSync',
  'renameSync',
  'linkSync',
  'unlinkSync',
] as const satisfies (keyof RecordFs)[];

const REAL = { ...nodeFs } as unknown as Record<string, (...args: unknown[]) => unknown>;

class Killed extends Error {}

/** Numbers from a seed, so that a failure can be seen again. */
function random(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) | 0;
    return (state >>> 0) % below;
  };
}

/** Files that something happens to at the `at`th call: before it, or after it. */
function fsWith(at: number, what: () => void, after: boolean): RecordFs {
  let count = 0;
  let isDead = false;
  const strike = (): void => {
    try {
      what();
    } catch (error) {
      if (error instanceof Killed) isDead = true;
      throw error;
    }
  };
  const wrapped = Object.fromEntries(
    calls.map((name) => [
      name,
      (...args: unknown[]) => {
        if (isDead) throw new Killed(); // A dead process makes no calls.
        const isNow = count++ === at;
        if (isNow && !after) strike();
        const result = REAL[name]?.(...args);
        if (isNow && after) strike();
        return result;
      },
    ]),
  );
  return wrapped as unknown as RecordFs;
}

const KINDS = ['lost', 'killed', 'EIO', 'ENOSPC', 'EACCES'] as const;

/** One of the kinds, at one of the first so many calls. @param second the other holder's steps, for 'lost' */
function fault(pick: (below: number) => number, calls: number, second: () => void, file: string) {
  const kind = KINDS[pick(KINDS.length)] as (typeof KINDS)[number];
  const what = (): void => {
    if (kind === 'lost') return second();
    throw kind === 'killed' ? new Killed() : systemError(ERRNOS[kind], 'write', file);
  };
  return { kind, fs: fsWith(pick(calls), what, pick(2) === 1) };
}

describe('a record that is replaced', () => {
  const record = (file: string, fs?: RecordFs) =>
    new RecordFile<{ n: number }>(file, 'test 1', ({ n }) => Number.isInteger(n), 'mend it', OPTIONS, fs);

  it('is the old one or a new one, whatever happens at whatever step', () => {
    const seeds = rounds(300, 1000);
    const seen = new Set<string>();
    for (let seed = 0; seed < seeds; seed++) {
      const pick = random(seed);
      const folder = path();
      nodeFs.mkdirSync(folder);
      const file = join(folder, 'record');
      const stranger = join(folder, 'stranger');
      nodeFs.writeFileSync(stranger, 'precious');
      const descriptors: number[] = [];
      if (pick(4) > 0) record(file).write({ n: 1 }, () => true);
      const before = record(file).read()?.n;
      let isLost = false;
      const second = (): void => {
        isLost = true;
        // What was closed may be a stranger's number by now.
        descriptors.push(nodeFs.openSync(stranger, 'r+'));
        record(file).write({ n: 3 }, () => true);
      };
      const { kind, fs } = fault(pick, 14, second, file);
      let told: string = 'done';
      try {
        record(file, fs).write({ n: 2 }, () => !isLost);
      } catch (error) {
        told = error instanceof Killed ? 'killed' : ((error as { code?: string }).code ?? String(error));
      }
      const now = record(file).read()?.n;
      const place = `seed ${seed}: ${kind}, told ${told}, ${before} -> ${now}`;
      seen.add(`${kind} ${told}`);
      expect([before, 2, 3], place).toContain(now);
      if (told === 'done' && !isLost) expect(now, place).toBe(2);
      if (told === 'ERR_LOCK_LOST') expect(now, place).toBe(3);
      expect(nodeFs.readFileSync(stranger, 'utf8'), place).toBe('precious');
      for (const fd of descriptors) nodeFs.closeSync(fd);
      nodeFs.rmSync(folder, { recursive: true });
    }
    expect([...seen].sort()).toEqual(
      expect.arrayContaining(['EIO EIO', 'ENOSPC ENOSPC', 'killed killed', 'lost ERR_LOCK_LOST', 'lost done']),
    );
  });
});

describe('an outcome', () => {
  it('is recorded once for a key, and every later reader gets that, whatever happens at whatever step', async () => {
    const seeds = rounds(300, 1000);
    const seen = new Set<string>();
    for (let seed = 0; seed < seeds; seed++) {
      const pick = random(seed + 7919);
      const folder = path();
      nodeFs.mkdirSync(folder);
      const file = join(folder, 'lock');
      nodeFs.writeFileSync(file, '');
      const stranger = join(folder, 'stranger');
      nodeFs.writeFileSync(stranger, 'precious');
      const descriptors: number[] = [];
      const outcomes = (fs?: RecordFs) =>
        new FileOutcomes(new LockPlace(file, { ...OPTIONS, followSymlinks: false }), OPTIONS, {}, fs);
      let isLost = false;
      let theirs: Done | undefined;
      const strikes: Promise<void>[] = [];
      // The other holder's steps are asynchronous in name only: what it does is done when its promise is made.
      const second = (): void => {
        isLost = true;
        descriptors.push(nodeFs.openSync(stranger, 'r+'));
        strikes.push(
          (async () => {
            const other = outcomes();
            if ((await other.read('k'))?.done) return;
            const reservation = await other.reserve('k', () => true);
            theirs = await reservation.commit({ done: true, value: 'second' });
            reservation.end();
          })(),
        );
      };
      const { kind, fs } = fault(pick, 24, second, file);
      let told: string = 'done';
      let ours: Done | undefined;
      try {
        const reservation = await outcomes(fs).reserve('k', () => !isLost);
        try {
          ours = await reservation.commit({ done: true, value: 'first' });
        } finally {
          reservation.end();
        }
      } catch (error) {
        told = error instanceof Killed ? 'killed' : ((error as { code?: string }).code ?? String(error));
      }
      await Promise.all(strikes);
      const now = (await outcomes().read('k')) as Done | undefined;
      const place = `seed ${seed}: ${kind}, told ${told}, ours ${JSON.stringify(ours)}, theirs ${JSON.stringify(theirs)}, now ${JSON.stringify(now)}`;
      seen.add(`${kind} ${told}`);
      if (now !== undefined && now.unstored === undefined) expect(['first', 'second'], place).toContain(now.value);
      // Those that were given an outcome were given the one that stays.
      for (const given of [ours, theirs]) {
        if (given === undefined || now?.unstored !== undefined) continue;
        expect(now?.value, place).toBe(given.value);
      }
      expect(nodeFs.readFileSync(stranger, 'utf8'), place).toBe('precious');
      for (const fd of descriptors) nodeFs.closeSync(fd);
      nodeFs.rmSync(folder, { recursive: true });
    }
    expect([...seen].sort()).toEqual(expect.arrayContaining(['killed killed', 'lost ERR_LOCK_LOST', 'lost done']));
  });
});

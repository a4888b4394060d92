import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { runOnce } from '../../src/cluster/index.js';
import { siblingPath } from '../../src/files/sibling-files.js';
import { LockLostError, LockTimeoutError } from '../../src/index.js';
import { hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { forkProgram } from '../support/programs.js';
import { rounds } from '../support/scale.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();
const PROCESSES = rounds(5, 16);

describe('runOnce', () => {
  it('runs the function once per key, and gives its outcome to all callers', async () => {
    const file = path();
    const fn = vi.fn(async () => ({ rows: 17 }));
    const all = await Promise.all([1, 2, 3].map(() => runOnce(file, fn, { key: 'v1' })));
    all.push(await runOnce(file, fn, { key: 'v1' }));
    expect(all).toEqual([1, 2, 3, 4].map(() => ({ rows: 17 })));
    expect(fn).toHaveBeenCalledTimes(1);
    await runOnce(file, fn, { key: 'v2' });
    await runOnce(file, fn, { key: 'v1' });
    expect(fn).toHaveBeenCalledTimes(2);
  });

  it.each([[undefined], [null], [0], [''], ['text'], [[1, { a: null }]]])(
    'comes to %j for the one that ran it and for the next',
    async (value) => {
      const file = path();
      expect(await runOnce(file, () => value, { key: '' })).toEqual(value);
      expect(await runOnce(file, () => 'not again', { key: '' })).toEqual(value);
    },
  );

  it('gives to all what JSON makes of it', async () => {
    const file = path();
    const first = await runOnce<unknown>(file, () => ({ at: new Date(0), gone: undefined }), { key: '__proto__' });
    expect(first).toEqual({ at: '1970-01-01T00:00:00.000Z' });
    expect(await runOnce(file, () => 'not again', { key: '__proto__' })).toEqual(first);
    expect(await runOnce(file, () => 'run', { key: 'constructor' })).toBe('run');
  });

  it('an outcome that JSON cannot express is an error', async () => {
    const file = path();
    await expect(runOnce(file, () => () => {}, { key: 'k' })).rejects.toThrow(
      'the outcome cannot be expressed in JSON: it is a function',
    );
    await expect(runOnce<unknown>(file, () => 1n, { key: 'k' })).rejects.toThrow(TypeError);
  });

  it('passes a failure to those that were waiting, and tries again for those that come later', async () => {
    const file = path();
    const fail = vi.fn(() => {
      throw Object.assign(new RangeError('no luck'), { code: 'ERR_NO_LUCK' });
    });
    const failed = await Promise.allSettled([1, 2, 3].map(() => runOnce(file, fail, { key: 'k' })));
    for (const one of failed)
      expect(one).toMatchObject({
        status: 'rejected',
        reason: { name: 'RangeError', message: 'no luck', code: 'ERR_NO_LUCK' },
      });
    expect(fail).toHaveBeenCalledTimes(1);
    expect(await runOnce(file, () => 'luck', { key: 'k' })).toBe('luck');
    expect(await runOnce(file, fail, { key: 'k' })).toBe('luck');
  });

  it('with onFailure retry the next waiter tries', async () => {
    const file = path();
    let tries = 0;
    const fn = (): number => {
      if (++tries < 3) throw new Error(`try ${tries}`);
      return tries;
    };
    const all = await Promise.allSettled([1, 2, 3, 4].map(() => runOnce(file, fn, { key: 'k', onFailure: 'retry' })));
    expect(all.map((one) => (one.status === 'fulfilled' ? one.value : (one.reason as Error).message))).toEqual([
      'try 1',
      'try 2',
      3,
      3,
    ]);
  });

  it('a damaged record is an error, and nothing is run', async () => {
    const file = path();
    const record = siblingPath(file, 'once');
    const fn = vi.fn();
    for (const text of [
      '',
      '{"format":"fairlock-once 1","keys":{"k":{"done":tr',
      '{"format":"fairlock-once 1","keys":{"k":{}}}',
      '[]',
    ]) {
      writeFileSync(record, text);
      await expect(runOnce(file, fn, { key: 'k' })).rejects.toMatchObject({
        code: 'ERR_LOCK_RECORD_DAMAGED',
        path: record,
      });
    }
    expect(fn).not.toHaveBeenCalled();
  });

  it('waits as acquire does', async () => {
    const file = path();
    let finish: (() => void) | undefined;
    const first = runOnce(
      file,
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
      { key: 'k' },
    );
    await expect(runOnce(file, () => {}, { key: 'k', timeout: 0 })).rejects.toThrow(LockTimeoutError);
    await expect(runOnce(file, () => {}, { key: 'k', signal: AbortSignal.abort('stop') })).rejects.toBe('stop');
    await until(() => finish !== undefined);
    finish?.();
    await first;
  });

  it('a bad argument is refused before anything is touched', async () => {
    const file = path();
    await expect(runOnce(file, () => {}, {} as { key: string })).rejects.toThrow(
      'key: expected a string, got undefined',
    );
    await expect(runOnce(file, 1 as unknown as () => void, { key: 'k' })).rejects.toThrow(TypeError);
    await expect(runOnce(file, () => {}, { key: 'k', onFailure: 'hope' as 'pass' })).rejects.toThrow(
      "onFailure: expected 'pass' or 'retry'",
    );
    expect([existsSync(file), existsSync(siblingPath(file, 'once'))]).toEqual([false, false]);
  });

  it.runIf(hasParking)('a lost lock is an error, and is not taken for done', async () => {
    const file = path();
    const lost = runOnce(
      file,
      async ({ signal }) => {
        const aborted = once(signal, 'abort');
        writeFileSync(`${file}.fresh`, '');
        (await import('node:fs')).renameSync(`${file}.fresh`, file);
        await aborted;
      },
      { key: 'k' },
    );
    await expect(lost).rejects.toThrow(LockLostError);
    expect(await runOnce(file, () => 'run', { key: 'k' })).toBe('run');
  });

  it.runIf(hasParking)(
    'many processes, many keys, the one that runs it killed at random: done once per key, the same outcome for all',
    async () => {
      const [file, log] = [path(), path()];
      writeFileSync(log, '');
      interface Told {
        key: string;
        running?: number;
        outcome?: { key: string; by: number };
        error?: { name: string; message: string; code: string };
      }
      let onTold: (told: Told) => void = () => {};
      const start = (): ChildProcess => {
        const child = forkProgram('once.mjs', [file, log]);
        child.on('message', (message: 'ready' | Told) => message !== 'ready' && onTold(message));
        return child;
      };
      const crew = await Promise.all(
        Array.from({ length: PROCESSES }, async () => {
          const child = start();
          await once(child, 'message');
          return child;
        }),
      );
      for (let round = 0; round < rounds(10, 200); round++) {
        const key = `key ${round}`;
        const outcomes: unknown[] = [];
        const fails = round % 20 === 7;
        let kills = round % 4 === 0 ? 1 + (round % 3) : 0;
        const done = new Promise<void>((resolve) => {
          onTold = ({ running, outcome, error }) => {
            if (running === undefined) {
              outcomes.push(outcome ?? error);
              if (outcomes.length === PROCESSES) resolve();
              return;
            }
            const runner = crew.find(({ pid }) => pid === running) as ChildProcess;
            if (kills-- > 0) {
              runner.kill('SIGKILL');
              const fresh = start();
              crew[crew.indexOf(runner)] = fresh;
              fresh.once('message', () => fresh.send({ key }));
            } else {
              runner.send({ how: fails ? 'fail' : 'work' });
            }
          };
        });
        // One that comes after the failure tries again, and fails the same way.
        for (const child of crew) child.send({ key });
        await done;
        const [first] = outcomes;
        if (fails) expect(first).toEqual({ name: 'RangeError', message: `no luck with ${key}`, code: 'ERR_NO_LUCK' });
        else expect(first).toMatchObject({ key });
        for (const one of outcomes) expect(one).toEqual(first);
      }
      const done = readFileSync(log, 'utf8').trim().split('\n');
      expect(done.length).toBe(rounds(9, 190));
      expect(new Set(done).size).toBe(rounds(9, 190));
    },
  );
});

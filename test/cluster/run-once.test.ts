import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { LeaderElection, runOnce } from '../../src/cluster/index.js';
import { siblingPath } from '../../src/files/sibling-files.js';
import { InterProcessLock, LockLostError, LockTimeoutError } from '../../src/index.js';
import { hasFlock, hasParking, isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { forkProgram, runScript } from '../support/programs.js';
import { rounds } from '../support/scale.js';
import { needsOpenTmpdir } from '../support/tools.js';
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
      const all = rounds(10, 200);
      const failing = (round: number): boolean => round % 20 === 7;
      for (let round = 0; round < all; round++) {
        const key = `key ${round}`;
        const outcomes: unknown[] = [];
        const fails = failing(round);
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
      const expected = Array.from({ length: all }, (_, round) => round).filter((round) => !failing(round)).length;
      expect([done.length, new Set(done).size]).toEqual([expected, expected]);
    },
  );
});

describe.runIf(hasFlock)('what is kept', () => {
  it('keepFor: an outcome counts so long, then fn runs again', async () => {
    const file = path();
    let runs = 0;
    const call = (keepFor: number) => runOnce(file, () => ++runs, { key: 'k', keepFor });
    expect([await call(60_000), await call(60_000)]).toEqual([1, 1]);
    const since = Date.now();
    await until(() => Date.now() > since + 1);
    expect([await call(1), await call(60_000)]).toEqual([2, 2]);
  });

  it('keepLast: the last outcomes are kept, older ones go', async () => {
    const file = path();
    let runs = 0;
    const call = (key: string) => runOnce(file, () => ++runs, { key, keepLast: 2 });
    for (const key of ['a', 'b', 'c', 'd']) {
      await call(key);
      const since = Date.now();
      await until(() => Date.now() > since + 20); // So that their times differ.
    }
    expect([await call('d'), await call('c')]).toEqual([4, 3]);
    expect(readdirSync(siblingPath(file, 'outcomes'))).toHaveLength(2);
    expect(await call('a')).toBe(5);
  });

  it('refuses numbers that are none, and keepLast where a service keeps the outcomes', async () => {
    for (const keepFor of [0, -1, Number.NaN, '5' as never])
      await expect(runOnce(path(), () => 1, { key: 'k', keepFor })).rejects.toThrow(RangeError);
    const records = { read: async () => undefined, write: async () => {} };
    const lock = { name: 'n', held: false, records, acquire() {}, tryAcquire() {}, withLock() {}, close() {} };
    await expect(runOnce(lock as never, () => 1, { key: 'k', keepLast: 5 })).rejects.toThrow(/^keepLast/);
  });

  it('reads the record of version 1, keeps what is in it, and closes it to processes of that version', async () => {
    const file = path();
    const old = siblingPath(file, 'once');
    const error = { name: 'Error', message: 'no' };
    const keys = { a: { done: true, value: 'old' }, b: { done: false, failures: 1, error } };
    writeFileSync(old, `${JSON.stringify({ format: 'fairlock-once 1', keys })}\n`);
    expect(await runOnce(file, () => 'new', { key: 'a' })).toBe('old');
    expect(JSON.parse(readFileSync(old, 'utf8')).format).toBe('fairlock-once 1');
    expect(await runOnce(file, () => 'new', { key: 'b' })).toBe('new');
    expect(await runOnce(file, () => 'newer', { key: 'b' })).toBe('new');
    expect(await runOnce(file, () => 'new', { key: 'a' })).toBe('old');
    expect(JSON.parse(readFileSync(old, 'utf8'))).toEqual({ format: 'fairlock-once 2', keys });
  });

  it.runIf(hasParking && process.platform === 'linux' && process.arch === 'x64')(
    'a process of version 0.2.0 refuses, and does not do again what was done',
    async () => {
      const file = path();
      const fixture = new URL('../fixtures/fairlock-0.2.0/', import.meta.url);
      await runOnce(file, () => 1, { key: 'k' });
      const { stdout } = await runScript(`
        import { runOnce, setNativeBinding } from ${JSON.stringify(new URL('fairlock.mjs', fixture).href)};
        setNativeBinding(new URL(${JSON.stringify(new URL('linux-x64.node', fixture).href)}));
        await runOnce(${JSON.stringify(file)}, () => console.log('ran'), { key: 'k' }).catch(({ code }) => console.log(code));`);
      expect(stdout).toBe('ERR_LOCK_RECORD_DAMAGED\n');
    },
  );
});

describe.runIf(hasFlock)('the place of a lock', () => {
  it('is one, whether runOnce and elections are given a path or a lock, through links or not', async () => {
    const folder = path();
    mkdirSync(folder);
    const [target, link] = [join(folder, 'target'), join(folder, 'link')];
    writeFileSync(target, '');
    symlinkSync('target', link);
    const follow = { followSymlinks: true };
    let runs = 0;
    await runOnce(link, () => ++runs, { key: 'k', ...follow });
    for (const subject of [target, new InterProcessLock(link, follow), new InterProcessLock(target)])
      expect(await runOnce(subject, () => ++runs, { key: 'k' })).toBe(1);
    const tokens: number[] = [];
    const elections = [
      new LeaderElection(link, follow),
      new LeaderElection(new InterProcessLock(link, follow)),
      new LeaderElection(target),
    ];
    for (const election of [...elections, ...elections]) tokens.push(await election.run(({ token }) => token));
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
    expect(readdirSync(folder).filter((name) => name.includes('fairlock-leader'))).toEqual(['.target.fairlock-leader']);
  });

  it('gives its permissions to its records, also where a lock object is given', async () => {
    const file = path();
    const lock = new InterProcessLock(file, { mode: 0o600 });
    await runOnce(lock, () => 1, { key: 'k' });
    await new LeaderElection(lock).run(() => {});
    const modes = [siblingPath(file, 'leader'), siblingPath(file, 'once'), siblingPath(file, 'outcomes')].map((one) =>
      (statSync(one).mode & 0o777).toString(8),
    );
    expect(modes).toEqual(['600', '600', '700']);
    const [outcome] = readdirSync(siblingPath(file, 'outcomes'));
    expect((statSync(join(siblingPath(file, 'outcomes'), outcome as string)).mode & 0o777).toString(8)).toBe('600');
  });

  it.runIf(isRoot)('in a folder that may be written but not read, works all the same', async () => {
    needsOpenTmpdir();
    const folder = path();
    mkdirSync(folder);
    chownSync(folder, 65534, 65534);
    chmodSync(folder, 0o333);
    const { stdout, stderr } = await runScript(`
      import { LeaderElection, runOnce } from 'fairlock/cluster';
      process.setgid(65534); process.setuid(65534);
      const file = ${JSON.stringify(join(folder, 'lock'))};
      let runs = 0;
      for (let i = 0; i < 2; i++) console.log(await runOnce(file, () => ++runs, { key: 'k' }));
      console.log(await new LeaderElection(file).run(({ token }) => token > 0));`);
    expect([stderr, stdout]).toEqual(['', '1\n1\ntrue\n']);
  });
});

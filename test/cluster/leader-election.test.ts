import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { LeaderElection, type Term } from '../../src/cluster/index.js';
import { siblingPath } from '../../src/files/sibling-files.js';
import { InterProcessLock, LockClosedError, LockLostError, LockTimeoutError } from '../../src/index.js';
import { hasFlock, hasParking, hasStrace } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { forkProgram, program, run, runProgram } from '../support/programs.js';
import { isSoak, rounds, some } from '../support/scale.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path, folder } = testFolder();

function untilAborted({ signal }: Term): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort');
}

describe('run', () => {
  it('leads while the function runs, and comes to what it comes to', async () => {
    const election = new LeaderElection(path());
    expect(election.isLeader).toBe(false);
    const seen = await election.run((term) => {
      expect(election.isLeader).toBe(true);
      expect(term.since).toBeInstanceOf(Date);
      expect(election.leader()).toEqual({
        pid: process.pid,
        thread: 0,
        command: process.argv.join(' '),
        since: term.since,
        token: term.token,
      });
      return term;
    });
    expect(seen.signal.aborted).toBe(true);
    expect(election.isLeader).toBe(false);
    expect(election.leader()).toBeNull();
    await expect(election.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await election.run(async ({ token }) => token)).toBeGreaterThan(seen.token);
  });

  it('runs on one at a time, in the order in which they stood', async () => {
    const file = path();
    const order: number[] = [];
    let leading = 0;
    const elections = [1, 2, 3].map(() => new LeaderElection(file));
    const runs = elections.map((election, i) =>
      election.run(async () => {
        expect(++leading).toBe(1);
        order.push(i);
        await setImmediate();
        leading--;
      }),
    );
    await Promise.all(runs);
    expect(order).toEqual([0, 1, 2]);
  });

  it('keeps the lead until the function is done, though it has resigned', async () => {
    const file = path();
    const [first, second] = [new LeaderElection(file), new LeaderElection(file)];
    let finish = (): void => {};
    const done = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const leading = first.run(() => done);
    await until(() => first.isLeader);
    const next = outcome(second.run(() => 'second'));
    first.resign();
    expect(first.isLeader).toBe(false);
    await settle();
    expect(next.state).toBe('pending');
    finish();
    await leading;
    expect(await until(() => next.value)).toBe('second');
  });

  it('gives the reason of a resignation', async () => {
    const election = new LeaderElection(path());
    const leading = election.run(async (term) => {
      await untilAborted(term);
      return term.signal.reason;
    });
    await until(() => election.isLeader);
    election.resign('restart');
    expect(await leading).toBe('restart');
    election.resign();
    expect(await election.run(() => 'again')).toBe('again');
  });

  it('stands no longer than it is told', async () => {
    const file = path();
    const [leader, other] = [new LeaderElection(file), new LeaderElection(file)];
    const leading = leader.run(untilAborted);
    await until(() => leader.isLeader);
    const never = vi.fn();
    await expect(other.run(never, { timeout: 0 })).rejects.toThrow(LockTimeoutError);
    await expect(other.run(never, { signal: AbortSignal.abort('stop') })).rejects.toBe('stop');
    const standing = other.run(never);
    other.close();
    await expect(standing).rejects.toThrow(LockClosedError);
    expect(never).not.toHaveBeenCalled();
    leader.close();
    await leading;
    expect(leader.isLeader).toBe(false);
  });

  it('tells of its terms by events, the end after the lock is free', async () => {
    const file = path();
    const [election, other] = [new LeaderElection(file), new LeaderElection(file)];
    const events: unknown[] = [];
    election.on('elected', ({ token }) => events.push(['elected', token, election.isLeader]));
    election.on('resigned', ({ token, signal }) =>
      events.push(['resigned', token, election.isLeader, signal.aborted, other.leader()]),
    );
    const token = await election.run((term) => term.token);
    expect(events).toEqual([
      ['elected', token, true],
      ['resigned', token, false, true, null],
    ]);
  });

  it('frees the lock when a listener throws', async () => {
    const file = path();
    const election = new LeaderElection(file);
    election.once('elected', () => {
      throw new Error('in the listener');
    });
    await expect(election.run(() => {})).rejects.toThrow('in the listener');
    expect(await new LeaderElection(file).run(() => 'next', { timeout: 0 })).toBe('next');
  });

  it('refuses bad arguments before anything is touched', async () => {
    const file = path();
    expect(() => new LeaderElection('')).toThrow(TypeError);
    expect(() => new LeaderElection(file, { mechanism: 'hope' as 'auto' })).toThrow(TypeError);
    await expect(new LeaderElection(file).run('fn' as unknown as () => void)).rejects.toThrow(TypeError);
    expect(readdirSync(folder).filter((name) => name.includes(file.split('/').at(-1) as string))).toEqual([]);
  });

  it.runIf(hasParking)('aborts the term when the lock is lost, and leads no more', async () => {
    const file = path();
    const election = new LeaderElection(file);
    const reason = await election.run(async (term) => {
      unlinkSync(file);
      await untilAborted(term);
      expect(election.isLeader).toBe(false);
      return term.signal.reason;
    });
    expect(reason).toBeInstanceOf(LockLostError);
  });
});

describe('a loop over terms', () => {
  it('leads in turn with the others, and stops when it is left or closed', async () => {
    const file = path();
    const elections = [0, 1].map(() => new LeaderElection(file));
    const order: number[] = [];
    const tokens: number[] = [];
    const loops = elections.map(async (election, i) => {
      for await (const { token } of election) {
        order.push(i);
        tokens.push(token);
        if (order.length >= 6) return;
        await setImmediate();
      }
    });
    await Promise.all(loops);
    expect(order.slice(0, 4)).toEqual([0, 1, 0, 1]);
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(elections.map(({ isLeader }) => isLeader)).toEqual([false, false]);

    const holder = new LeaderElection(file);
    const holding = holder.run(untilAborted);
    await until(() => holder.isLeader);
    const waiting = (async () => {
      for await (const _ of elections[0] as LeaderElection) throw new Error('never');
      return 'ended';
    })();
    await settle();
    elections[0]?.close();
    expect(await waiting).toBe('ended');
    holder.resign();
    await holding;
  });
});

describe('the fencing token', () => {
  it('is greater than any before, though the folder was cleared', async () => {
    const file = path();
    const token = (): Promise<number> => new LeaderElection(file).run((term) => term.token);
    const tokens = [await token(), await token()];
    unlinkSync(siblingPath(file, 'leader'));
    rmSync(file, { force: true });
    await until(() => Date.now() > (tokens[1] as number));
    tokens.push(await token());
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    expect(new Set(tokens).size).toBe(3);
  });

  it('that cannot be read makes no candidate leader', async () => {
    const file = path();
    const election = new LeaderElection(file);
    await election.run(() => {});
    writeFileSync(siblingPath(file, 'leader'), '{"format":"fairlock-leader 1","token":');
    const never = vi.fn();
    await expect(election.run(never)).rejects.toMatchObject({
      code: 'ERR_LOCK_RECORD_DAMAGED',
      path: siblingPath(file, 'leader'),
    });
    expect(() => election.leader()).toThrow(/damaged/);
    expect(never).not.toHaveBeenCalled();
    rmSync(siblingPath(file, 'leader'));
    expect(await election.run(() => 'mended')).toBe('mended');
  });

  it.runIf(hasStrace && hasFlock)(
    'is never handed out twice, whichever system call the leader is killed at',
    async () => {
      const file = path();
      const record = siblingPath(file, 'leader');
      const script = `
      import { LeaderElection } from 'fairlock/cluster';
      import { writeSync } from 'node:fs';
      await new LeaderElection(${JSON.stringify(file)}).run(({ token }) => writeSync(1, token + '\\n'));`;
      const candidate = [process.execPath, '--input-type=module', '-e', script];
      const handedOut: number[] = [];
      const killedAt: string[] = [];
      for (const call of isSoak ? ['openat', 'read', 'pwrite64', 'fsync', 'close', 'rename'] : ['rename']) {
        for (let nth = 1; ; nth++) {
          // Of these the program makes few; of the others those that concern the record and its folder are looked at.
          const watched = ['pwrite64', 'fsync', 'rename'].includes(call) ? [] : ['-P', record, '-P', folder];
          const kill = `--inject=${call}:signal=KILL:when=${nth}`;
          const { stdout, signal, code } = await run('strace', [
            '-f',
            '-o',
            '/dev/null',
            ...watched,
            kill,
            ...candidate,
          ]);
          if (stdout !== '') handedOut.push(Number(stdout));
          const after = await run(process.execPath, candidate.slice(1));
          expect(after.stderr).toBe('');
          handedOut.push(Number(after.stdout));
          if (code === 0) break;
          expect(signal).toBe('SIGKILL');
          killedAt.push(`${call} ${nth}`);
        }
      }
      // Read, written, flushed, closed, renamed, the folder flushed; and written once more at the end.
      expect(killedAt).toEqual(expect.arrayContaining(['rename 1', 'rename 2']));
      const others = ['fsync 1', 'fsync 2', 'pwrite64 1', 'pwrite64 2', 'read 1', 'close 1'];
      if (isSoak) expect(killedAt).toEqual(expect.arrayContaining(others));
      expect(handedOut).toEqual([...handedOut].sort((a, b) => a - b));
      expect(new Set(handedOut).size).toBe(handedOut.length);
    },
  );
});

const KILLS = rounds(2, 50);

describe.runIf(hasParking)('between processes', () => {
  /** Candidates in processes of their own; each term of theirs leaves a file in the log. */
  function electorate(options: object = {}) {
    const file = path();
    const log = path();
    mkdirSync(log);
    const candidates = new Map<number, ChildProcess>();
    const elected: { child: ChildProcess; token: number }[] = [];
    const stand = async (): Promise<ChildProcess> => {
      const child = forkProgram('candidate.mjs', [file, log, JSON.stringify(options)]);
      candidates.set(child.pid as number, child);
      child.on('message', (message: 'standing' | { token: number }) => {
        if (message !== 'standing') elected.push({ child, token: message.token });
      });
      await once(child, 'message');
      return child;
    };
    return { file, log, candidates, elected, stand };
  }

  it.each(some(['fifo', 'kernel']))(
    'many candidates, the leader killed again and again (%s): never two at once, tokens grow',
    async (fairness) => {
      const { log, file, elected, stand } = electorate({ fairness });
      for (let i = 0; i < rounds(4, 8); i++) await stand();
      const observer = new LeaderElection(file);
      for (let kills = 0; kills < KILLS; kills++) {
        const { child, token } = await until(() => elected[kills]);
        // Its place is taken without any signal; the new process only keeps their number.
        expect(observer.leader()).toMatchObject({ pid: child.pid, token });
        child.kill('SIGKILL');
        await Promise.all([once(child, 'exit'), stand()]);
      }
      await until(() => elected[KILLS]);
      const terms = readdirSync(log)
        .map((name) => ({
          token: Number(name.split('-')[0]),
          times: readFileSync(`${log}/${name}`, 'utf8').trim().split(' ').map(BigInt),
        }))
        .sort((a, b) => a.token - b.token);
      expect(terms.length).toBe(KILLS + 1);
      terms.forEach(({ token, times: [begin = 0n] }, i) => {
        const before = terms[i - 1];
        if (before === undefined) return;
        expect(token).toBeGreaterThan(before.token);
        expect(begin > (before.times[1] as bigint)).toBe(true);
      });
    },
  );

  it('resigns, and the next candidate leads', async () => {
    const { file, elected, stand } = electorate({ fairness: 'fifo' });
    const candidates = [await stand(), await stand(), await stand()];
    const lock = new InterProcessLock(file, { fairness: 'fifo' });
    for (let turn = 0; turn < 6; turn++) {
      const { child } = await until(() => elected[turn]);
      // The candidate that led last is queued again: on a busy machine that may take it longer than the others' terms.
      await until(() => lock.inspect().waiters.length === 2);
      child.send('resign');
    }
    await until(() => elected[6]);
    const order = elected.slice(0, 6).map(({ child }) => candidates.indexOf(child));
    expect(order.slice(3)).toEqual(order.slice(0, 3));
    expect([...order.slice(0, 3)].sort()).toEqual([0, 1, 2]);
  });

  it('a stopped leader keeps the lead, a continued one goes on', async () => {
    const { file, elected, stand } = electorate();
    await stand();
    const { child } = await until(() => elected[0]);
    const observer = new LeaderElection(file);
    child.kill('SIGSTOP');
    await expect(observer.run(() => {}, { timeout: 50 })).rejects.toThrow(LockTimeoutError);
    expect(observer.leader()).toMatchObject({ pid: child.pid });
    child.kill('SIGCONT');
    child.send('close');
    await once(child, 'exit');
    expect(observer.leader()).toBeNull();
    expect(await observer.run(() => 'led')).toBe('led');
  });

  it('a Worker leads, and its end hands over', async () => {
    const file = path();
    const worker = new Worker(program('leading-worker.mjs'), { workerData: file, execArgv: [] });
    const [{ token, threadId }] = await once(worker, 'message');
    const election = new LeaderElection(file);
    expect(election.leader()).toMatchObject({ pid: process.pid, thread: threadId, token });
    const mine = election.run((term) => term.token);
    await worker.terminate();
    expect(await mine).toBeGreaterThan(token);
  });

  it('works in node:cluster workers, whose primary does nothing for it', async () => {
    const { stdout, stderr } = await runProgram('leading-cluster.mjs', [path()]);
    expect(stderr).toBe('');
    const tokens = stdout.trim().split('\n').map(Number);
    expect(tokens.length).toBe(3);
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
  });
});

describe('close and resign', () => {
  it('can be awaited: the term has come to its end, and the lock is free', async () => {
    const file = path();
    const election = new LeaderElection(file);
    const order: string[] = [];
    let drained = (): void => {};
    const running = election.run(async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
      order.push('drained');
    });
    await until(() => election.isLeader);
    const closing = election.close().then(() => {
      order.push('closed');
      expect(new InterProcessLock(file).isLocked()).toBe(false);
    });
    await settle();
    expect(order).toEqual([]);
    drained();
    await Promise.all([running, closing]);
    expect(order).toEqual(['drained', 'closed']);
    await election.close();
  });

  it('resign can be awaited in a loop over terms too, and without a term is over at once', async () => {
    const election = new LeaderElection(path());
    await election.resign();
    const over: boolean[] = [];
    const looping = (async () => {
      for await (const { signal } of election) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        over.push(true);
        if (over.length === 2) break;
      }
    })();
    for (const count of [1, 2]) {
      await until(() => election.isLeader);
      await election.resign(null);
      expect(over).toHaveLength(count);
    }
    await looping;
    await election.close();
  });

  it('await using closes it', async () => {
    let seen: LeaderElection | undefined;
    {
      await using election = new LeaderElection(path());
      seen = election;
    }
    await expect(seen.run(() => {})).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
  });
});

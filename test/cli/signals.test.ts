/** Signals to a `fairlock run` that stays beside its command: each reaches the command once, whoever else got it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { statusOf } from '../../src/cli/lock-status.js';
import { read, statOf } from '../../src/inspect/index.js';
import { hasFlock, hasNamespaces, hasParking } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { holdByFlock, LineProgram, program, track } from '../support/programs.js';
import { rounds, some } from '../support/scale.js';
import { needs } from '../support/tools.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();
const hasWitness = spawnSync('env', ['--block-signal', 'true']).status === 0;

const SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGALRM', 'SIGWINCH'] as const;
/** Sent to fairlock alone, after the others. */
const LAST = 'SIGUSR2';

const waitersOf = (file: string): unknown[] => statusOf(file).waiters.map(({ pid }) => pid);

/**
 * The process that tells fairlock which signals its group got, once it has blocked them all; another one after each signal.
 * Undefined while it begins, or ends: what is sent to the group then may pass it by.
 */
function witnessOf(group: number, command: number): number | undefined {
  const others = readdirSync('/proc').filter((pid) => {
    const [, , pgrp] = statOf(Number(pid)) ?? [];
    return Number(pgrp) === group && Number(pid) !== group && Number(pid) !== command;
  });
  const isReady = (pid: string): boolean => /^SigBlk:\s+[0-9a-f]*[1-9a-f]/m.test(read(`/proc/${pid}/status`));
  return others.length === 1 && isReady(others[0] as string) ? Number(others[0]) : undefined;
}

/** A command that says which signals it gets, run by fairlock in a process group of its own. */
async function counting(): Promise<{
  beside: LineProgram;
  pid: number;
  witness(): number | undefined;
  signalled(to: number, signal: NodeJS.Signals): void;
}> {
  const names = [...SIGNALS, 'SIGTSTP', 'SIGCONT', LAST];
  needs('python3');
  const command = ['python3', program('signal-counter.py'), ...names];
  const beside = new LineProgram(process.execPath, [CLI, 'run', '-o', path(), '--', ...command], { detached: true });
  const pid = beside.child.pid as number;
  const commandPid = Number(/^ready (\d+)/.exec(await beside.line())?.[1]);
  const witness = (): number | undefined => witnessOf(pid, commandPid);
  await until(witness);
  return { beside, pid, witness, signalled: (to, signal) => process.kill(to, signal) };
}

/** What the command got before the last one. */
async function restOf(beside: LineProgram): Promise<string[]> {
  beside.child.kill(LAST);
  const lines: string[] = [];
  do lines.push(await beside.line());
  while (lines.at(-1) !== LAST);
  beside.child.stdin.end();
  // What was sent before the last one has come by now, if in another order.
  for (let line = await beside.line(); line !== 'end'; line = await beside.line()) lines.push(line);
  return lines.filter((line) => line !== LAST);
}

describe.runIf(hasFlock && hasWitness)('while fairlock stays beside the command, for each signal', () => {
  it.each(some(SIGNALS, 3))('%s to fairlock alone is passed on', async (signal) => {
    const { beside, pid, signalled } = await counting();
    signalled(pid, signal);
    expect(await beside.line()).toBe(signal);
    expect(await restOf(beside)).toEqual([]);
  });

  it.each(some(SIGNALS, 3))('%s to the group reaches the command once', async (signal) => {
    const { beside, pid, signalled } = await counting();
    signalled(-pid, signal);
    expect(await beside.line()).toBe(signal);
    expect(await restOf(beside)).toEqual([]);
  });

  it('several at once, some to the group', async () => {
    const { beside, pid, signalled } = await counting();
    for (const signal of ['SIGHUP', 'SIGTERM'] as const) signalled(-pid, signal);
    signalled(pid, 'SIGUSR1');
    const lines = [await beside.line(), await beside.line(), await beside.line()];
    expect(lines.sort()).toEqual(['SIGHUP', 'SIGTERM', 'SIGUSR1']);
    expect(await restOf(beside)).toEqual([]);
  });

  // No shell that would let it go on: so, as the kernel has it, fairlock itself is not stopped.
  it.each(['alone', 'group'])('TSTP and CONT, to the %s, reach the command once', async (which) => {
    const { beside, pid, witness, signalled } = await counting();
    const before = witness();
    const to = which === 'alone' ? pid : -pid;
    signalled(to, 'SIGTSTP');
    expect(await beside.line()).toBe('SIGTSTP');
    await until(() => ![undefined, before].includes(witness()));
    signalled(to, 'SIGCONT');
    expect(await beside.line()).toBe('SIGCONT');
    expect(await restOf(beside)).toEqual([]);
  });

  it.runIf(hasNamespaces)('as process 1 it passes them on, and is not replaced', async () => {
    needs('python3');
    const inside = new LineProgram('unshare', [
      ...['--pid', '--fork', '--kill-child', '--mount-proc'],
      ...[process.execPath, CLI, 'run', path(), '--', 'python3', program('signal-counter.py'), 'SIGTERM'],
    ]);
    expect(await inside.line()).toMatch(/^ready (?!1$)/);
    const children = `/proc/${inside.child.pid}/task/${inside.child.pid}/children`;
    process.kill(Number(readFileSync(children, 'utf8')), 'SIGTERM');
    expect(await inside.line()).toBe('SIGTERM');
    inside.child.stdin.end();
    expect(await inside.line()).toBe('end');
  });
});

describe.runIf(hasFlock && hasParking)('a TERM that comes while the lock is granted', () => {
  it.each(['become', 'stay beside'])('ends fairlock or the command, and is never lost: %s', async (how) => {
    const options = how === 'become' ? [] : ['-o'];
    const ended = new Set<unknown>();
    for (let round = 0; round < rounds(4, 60); round++) {
      const file = path();
      const holder = await holdByFlock(file);
      const waiter = track(
        spawn(process.execPath, [CLI, 'run', ...options, file, '--', 'sh', '-c', 'read line'], {
          stdio: ['pipe', 'ignore', 'inherit'],
        }),
      );
      const exited = once(waiter, 'exit');
      await until(() => waitersOf(file).includes(waiter.pid as number));
      // One before the other; or both at the same moment, when it goes on.
      const order = round % 3;
      if (order === 2) waiter.kill('SIGSTOP');
      if (order > 0) waiter.kill('SIGTERM');
      const released = holder.letGo();
      if (order === 0) waiter.kill('SIGTERM');
      await released;
      waiter.kill('SIGCONT');
      const [code, signal] = await exited;
      ended.add(signal ?? code);
    }
    // 143: the command beside which fairlock stayed was ended.
    for (const end of ended) expect(['SIGTERM', 143]).toContain(end);
  });
});

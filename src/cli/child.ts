/** A command that is run in the foreground: signals go to it, its exit code comes from it. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { loadAddon, statOf } from '../inspect/index.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import type { Surroundings } from './surroundings.js';

const PASSED_ON = ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const;
/** A terminal sends these to all processes in the foreground: passed on, they would come twice. */
const FROM_TERMINAL = new Set<NodeJS.Signals>(['SIGINT', 'SIGQUIT']);

export interface Command {
  file: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** The command inherits it, as `lockDescriptor` says. */
  fd?: number | undefined;
  surroundings: Surroundings;
}

/** A command and its arguments, without the `--` before them. */
export function wordsOfCommand(words: readonly string[]): readonly string[] {
  return words[0] === '--' ? words.slice(1) : words;
}

/** The number under which the command has the lock: 3, or the first that did not come in. */
export function lockDescriptor({ descriptors }: Surroundings): number {
  for (let fd = 3; ; fd++) if (!descriptors.includes(fd)) return fd;
}

/** Its exit code, 128+n for a signal; `cannotRun` where it cannot be started. */
export function runCommand(
  { file, args, env = process.env, fd, surroundings }: Command,
  cannotRun: (error: NodeJS.ErrnoException) => number,
): Promise<number> {
  const { ignored, openFiles } = surroundings;
  return new Promise((resolve) => {
    const passOn = (signal: NodeJS.Signals): void => {
      if (ignored.includes(signal) || (FROM_TERMINAL.has(signal) && isInForeground())) return;
      child.kill(signal);
    };
    // Before the command starts: a signal that comes from now on waits for this thread, and finds the command there.
    for (const signal of PASSED_ON) process.on(signal, passOn);
    const end = (code: number): void => {
      for (const signal of PASSED_ON) process.off(signal, passOn);
      resolve(code);
    };
    const fail = (error: unknown): void => {
      say(`failed to execute ${file}: ${reasonOf(error)}`);
      end(cannotRun(error as NodeJS.ErrnoException));
    };
    if (openFiles !== undefined) loadAddon().api?.limitDescriptors(openFiles);
    // Node starts a command with every signal at its default: a shell sets those to ignored that were.
    const traps = ignored.map((signal) => signal.slice(3)).join(' ');
    const [program, words] =
      ignored.length === 0 ? [file, args] : ['/bin/sh', ['-c', `trap "" ${traps}; exec "$@"`, 'sh', file, ...args]];
    let child: ChildProcess;
    try {
      child = spawn(program, words, { env, stdio: stdioOf(fd, surroundings) });
    } catch (error) {
      return fail(error); // E2BIG, an empty name: Node throws these.
    }
    child.once('error', fail);
    child.once('exit', (code, signal) => end(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

/** 0 to 2, what came in, and the lock. */
function stdioOf(fd: number | undefined, surroundings: Surroundings): StdioOptions {
  const passed = new Map<number, number>(surroundings.descriptors.map((one) => [one, one]));
  if (fd !== undefined) passed.set(lockDescriptor(surroundings), fd);
  const length = Math.max(2, ...passed.keys()) + 1;
  return Array.from({ length }, (_, number) => (number <= 2 ? 'inherit' : (passed.get(number) ?? 'ignore')));
}

/** Whether a Ctrl-C at this process's terminal would go to this process: then it has gone to the command too. */
export function isInForeground(): boolean {
  const stat = statOf('self');
  if (stat === undefined) return isatty(0);
  const [, , pgrp, , , tpgid] = stat;
  return pgrp === tpgid;
}

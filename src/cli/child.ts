/** A command that is run in the foreground: signals go to it, its exit code comes from it. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { statOf } from '../lock/parties.js';
import { reasonOf } from './reasons.js';

const PASSED_ON = ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const;
/** A terminal sends these to everybody in the foreground: passed on, they would come twice. */
const FROM_TERMINAL = new Set<NodeJS.Signals>(['SIGINT', 'SIGQUIT']);

export interface Command {
  file: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** The command inherits it as its descriptor 3. */
  fd?: number | undefined;
}

/** A command and its arguments, without the `--` before them. */
export function wordsOfCommand(words: readonly string[]): readonly string[] {
  return words[0] === '--' ? words.slice(1) : words;
}

/** Its exit code, 128+n for a signal; `cannotRun` where it cannot be started. */
export function runCommand({ file, args, env = process.env, fd }: Command, cannotRun: (error: NodeJS.ErrnoException) => number): Promise<number> {
  return new Promise((resolve) => {
    const passOn = (signal: NodeJS.Signals): void => {
      if (!(FROM_TERMINAL.has(signal) && isInForeground())) child.kill(signal);
    };
    // Before the command starts: a signal that comes from now on waits for this thread, and finds the command there.
    for (const signal of PASSED_ON) process.on(signal, passOn);
    const stdio: StdioOptions = ['inherit', 'inherit', 'inherit', ...(fd === undefined ? [] : [fd])];
    const end = (code: number): void => {
      for (const signal of PASSED_ON) process.off(signal, passOn);
      resolve(code);
    };
    const fail = (error: unknown): void => {
      process.stderr.write(`fairlock: failed to execute ${file}: ${reasonOf(error)}\n`);
      end(cannotRun(error as NodeJS.ErrnoException));
    };
    let child: ChildProcess;
    try {
      child = spawn(file, args, { env, stdio });
    } catch (error) {
      return fail(error); // E2BIG, an empty name: Node throws these.
    }
    child.once('error', fail);
    child.once('exit', (code, signal) => end(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

/** Whether a Ctrl-C at this process's terminal would go to this process: then it has gone to the command too. */
function isInForeground(): boolean {
  const stat = statOf('self');
  if (stat === undefined) return isatty(0);
  const [, , pgrp, , , tpgid] = stat;
  return pgrp === tpgid;
}

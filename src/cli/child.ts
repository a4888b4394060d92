/** A command that is run beside this process: signals go to it, its exit code comes from it. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { loadAddon } from '../inspect/index.js';
import { GroupWitness } from './group-witness.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import type { Signals } from './signals.js';
import { lockDescriptor, type Surroundings } from './surroundings.js';

export interface Command {
  file: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** The command inherits it, as `lockDescriptor` says. */
  fd?: number | undefined;
  surroundings: Surroundings;
  signals: Signals;
}

/** Its exit code, 128+n for a signal; `cannotRun` where it cannot be started. */
export function runCommand(
  { file, args, env = process.env, fd, surroundings, signals }: Command,
  cannotRun: (error: NodeJS.ErrnoException) => number,
): Promise<number> {
  const { ignored, openFiles } = surroundings;
  return new Promise((resolve) => {
    const end = (code: number): void => {
      signals.end();
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
      child = signals.passTo(new GroupWitness(), () =>
        spawn(program, words, { env, stdio: stdioOf(fd, surroundings) }),
      );
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

/** What `fairlock run` is to run, in flock(1)'s forms. */
import { commandIn, isChanged, lastArguments } from './arguments.js';
import { CliError, USAGE } from './exit-codes.js';
import type { CommandWords, RunOptions } from './run-call.js';

/** What is wrong whatever the lock is. */
export function checkedCommand(words: readonly string[], options: RunOptions): CommandWords {
  const command = commandOf(words);
  if (!options.fork && options.close) throw new CliError('the --no-fork and --close options are incompatible', USAGE);
  if (options.permits !== undefined && options.shared)
    throw new CliError('the --permits and --shared options are incompatible', USAGE);
  return command;
}

/** flock(1)'s forms: COMMAND [ARG…] or -c STRING; and `--` before the command. */
function commandOf(given: readonly string[]): CommandWords {
  const usage = 'fairlock run [OPTION…] FILE -- COMMAND [ARG…] (see fairlock help run)';
  const [first, ...rest] = commandIn(given, usage);
  if (first === '-c' || first === '--command') {
    if (rest.length !== 1) throw new CliError(`${first} requires exactly one command argument`, USAGE);
    return commandWords([process.env.SHELL || '/bin/sh', '-c'], rest);
  }
  return commandWords([], [first, ...rest]);
}

/** @param last the last words of the command line */
function commandWords(before: readonly string[], last: readonly string[]): CommandWords {
  const [file = '', ...args] = [...before, ...last];
  const text = (): { file: string; args: string[] } => {
    if (last.some((word, i) => isChanged(word, last.length - i)))
      throw new CliError('an argument is not UTF-8, and Node cannot pass it on as it is', USAGE);
    return { file, args };
  };
  const bytes = (): Buffer[] => {
    const raw = lastArguments(last.length) ?? (text() && last.map((word) => Buffer.from(word)));
    return [...before.map((word) => Buffer.from(word)), ...raw];
  };
  return { file, text, bytes };
}

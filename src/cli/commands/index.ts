/** All commands, each of which registers itself. What a command does is loaded when it is called. */
import { Command, CommanderError } from 'commander';
import { USAGE } from '../exit-codes.js';
import { printLines, toStderr } from '../output.js';
import { expandOptions } from '../run-options.js';
import { registerCompletion } from './completion.js';
import { registerDoctor } from './doctor.js';
import { registerGc } from './gc.js';
import { registerLocked } from './locked.js';
import { registerPostgresSchema } from './postgres-schema.js';
import { registerRun } from './run.js';
import { registerStatus } from './status.js';
import { registerTrace } from './trace.js';
import { registerWrapper } from './wrapper.js';

declare const FAIRLOCK_VERSION: string;

/** @param end told the exit code of the command that was called */
export function commands(end: (code: number) => void, version: string): Command {
  const program = new Command('fairlock')
    .description('Locks between processes, for scripts.')
    .version(version, '-V, --version')
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(see fairlock help)')
    .configureHelp({ helpWidth: 100 })
    .configureOutput({
      writeOut: printLines,
      writeErr: toStderr,
      outputError: (text, write) => write(text.replace(/^error: /, 'fairlock: ')),
    });
  registerRun(program, async (call) => {
    const { runCall } = await import('../run.js');
    end(await runCall(call));
  });
  registerStatus(program, end);
  registerLocked(program, end);
  registerGc(program, end);
  registerDoctor(program, end, version);
  registerTrace(program, end);
  registerWrapper(program, end);
  registerCompletion(program);
  registerPostgresSchema(program);
  for (const command of program.commands)
    command.copyInheritedSettings(program).showHelpAfterError(`(see fairlock help ${command.name()})`);
  return program;
}

/** Its exit code. @throws {CliError} */
export async function runCommandLine(words: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = commands((code) => {
    exitCode = code;
  }, FAIRLOCK_VERSION);
  try {
    await program.parseAsync(expandOptions(words), { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : USAGE;
  }
  return exitCode;
}

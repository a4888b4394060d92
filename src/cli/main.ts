#!/usr/bin/env node
/** The command line. `run`, which shells wait for, goes the short way; all others by the library that reads them. */
import { codeOf } from '../errors.js';
import { CliError, isForUser, NO_INPUT, OS_ERROR } from './exit-codes.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import { readRun } from './run-options.js';
import { leaveTerminalAsItIs } from './terminal.js';

leaveTerminalAsItIs();
const words = process.argv.slice(2);
const call = readRun(words);
if (call !== undefined) end(import('./run.js').then(({ runCall }) => runCall(call)));
else end(import('./commands/index.js').then(({ runCommandLine }) => runCommandLine(words)));

/** What the system refused, wherever that was: the current folder that is gone, no memory, a /proc that is hidden. */
function aboutSystem(error: unknown): CliError | undefined {
  const { syscall, path } = error as NodeJS.ErrnoException;
  if (syscall === undefined || codeOf(error) === undefined) return undefined;
  const what = syscall === 'uv_cwd' ? 'the current folder' : (path ?? syscall);
  return new CliError(`${what}: ${reasonOf(error)}`, syscall === 'uv_cwd' ? NO_INPUT : OS_ERROR);
}

/** Errors that are not meant for the user are not caught: Node shows where they come from. */
function end(ending: Promise<number>): void {
  ending.then(
    (code) => exit(code),
    (error) => {
      const said = isForUser(error) ? error : aboutSystem(error);
      if (said === undefined) throw error;
      say(said.message);
      exit(said.exitCode);
    },
  );
}

/** A client of a lock service, which is another library's, shall not keep the process alive. */
function exit(code: number): void {
  if (call?.engine !== undefined) process.exit(code);
  process.exitCode = code;
}

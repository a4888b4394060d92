#!/usr/bin/env node
/** The command line. `run`, which shells wait for, goes the short way; all others by the library that reads them. */
import { isForUser } from './exit-codes.js';
import { say } from './output.js';
import { readRun } from './run-options.js';
import { leaveTerminalAsItIs } from './terminal.js';

leaveTerminalAsItIs();
const words = process.argv.slice(2);
const call = readRun(words);
if (call !== undefined) end(import('./run.js').then(({ runCall }) => runCall(call)));
else end(import('./commands/index.js').then(({ runCommandLine }) => runCommandLine(words)));

/** Errors that are not meant for the user are not caught: Node shows where they come from. */
function end(ending: Promise<number>): void {
  ending.then(
    (code) => {
      process.exitCode = code;
    },
    (error) => {
      if (!isForUser(error)) throw error;
      say(error.message);
      process.exitCode = error.exitCode;
    },
  );
}

#!/usr/bin/env node
/** The command line. */
import { wrapper } from './wrapper.js';

const HELP = `Usage: fairlock wrapper -- COMMAND [ARG…]

  wrapper   run COMMAND with a lock folder of its own in OSLO_LOCK_PATH, and remove it afterwards
            (oslo.concurrency's lockutils-wrapper); exits as COMMAND does, with 128+n for a signal
`;

const [command, ...args] = process.argv.slice(2);
if (command === 'wrapper') {
  process.exitCode = await wrapper(args);
} else if (command === '--help' || command === '-h' || command === 'help') {
  process.stdout.write(HELP);
} else {
  process.stderr.write(`fairlock: ${command === undefined ? 'no command' : `unknown command '${command}'`}\n\n${HELP}`);
  process.exitCode = 64;
}

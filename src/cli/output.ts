/**
 * The one place where text leaves. Names and commands that other users chose come by here: what would move the cursor,
 * change colours or the direction of writing is written as \xNN.
 */
import { writeSync } from 'node:fs';
import { messageOf } from '../errors.js';
import { printable } from '../printable.js';
import { quietly } from '../quietly.js';

/** A line on stdout. */
export function print(line: string): void {
  toStdout(`${printable(line)}\n`);
}

/** Lines of our own making, in which the parts of others are printable already: tables, help. */
export function printLines(text: string): void {
  toStdout(text);
}

/** For programs. JSON.stringify leaves C1 controls and their like as they are, which a terminal obeys too. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, undefined, 2).replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  toStdout(`${text}\n`);
}

/** A line on stderr, at once. */
export function say(line: string): void {
  toStderr(`fairlock: ${printable(line)}\n`);
}

/**
 * Not by process.stderr: that makes a pipe non-blocking for all processes that share it, and those that do not expect it
 * lose output.
 */
export function toStderr(text: string): void {
  // A reader that is gone or does not read is no reason to fail.
  quietly(() => writeSync(2, text));
}

let watchesForEnd = false;

/** A reader that has seen enough (`| head -1`) ends the command, as SIGPIPE ends others: quietly. */
function toStdout(text: string): void {
  if (!watchesForEnd) {
    watchesForEnd = true;
    process.stdout.on('error', (error) => {
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(process.exitCode ?? 0);
      toStderr(`fairlock: ${printable(messageOf(error))}\n`);
      process.exit(1);
    });
  }
  process.stdout.write(text);
}

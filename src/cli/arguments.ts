/** The arguments as the kernel has them: Node changes bytes that are not UTF-8. */
import { readFileSync } from 'node:fs';
import { quietly } from '../quietly.js';
import { CliError, USAGE } from './exit-codes.js';

/** The last `count` of them, as words of bytes; undefined where the system does not show them. */
export function lastArguments(count: number): Buffer[] | undefined {
  const bytes = quietly(() => readFileSync('/proc/self/cmdline'));
  if (bytes === undefined) return undefined;
  const words = [];
  for (let start = 0, end = 0; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(0, start);
    words.push(bytes.subarray(start, end));
  }
  return count === 0 ? [] : words.slice(-count);
}

/** Whether Node has changed the word, which is the last, last but one, … */
export function isChanged(word: string, fromEnd: number): boolean {
  if (!word.includes('\ufffd')) return false;
  const [bytes] = lastArguments(fromEnd) ?? [];
  return bytes === undefined || !bytes.equals(Buffer.from(word));
}

/** A command and its arguments, without the `--` before them. @throws {CliError} there is none */
export function commandIn(words: readonly string[], usage: string): [file: string, ...args: string[]] {
  const [file, ...args] = words[0] === '--' ? words.slice(1) : words;
  if (file === undefined) throw new CliError(`which command? Usage: ${usage}`, USAGE);
  return [file, ...args];
}

/**
 * While a command waits for its lock: names the holder, at a terminal on a line that is redrawn and wiped at the end.
 * Nothing is said in the first second, nor, unless `verbose`, where there is no terminal.
 */
import { printable } from '../printable.js';
import { say } from './output.js';
import type { Signals } from './signals.js';
import { isInForeground } from './terminal.js';

const EVERY_MS = 1000;

/** Why it waits, in at most so many columns. */
type Reason = (width: number) => string | Promise<string>;

/** Returns what ends it. */
export function announceWait(name: string, reason: Reason, verbose: boolean, signals: Signals): () => void {
  const start = `waiting for ${printable(name)}`;
  const describe = async (width: number): Promise<string> =>
    `${start}${await reason(width - start.length)}`.slice(0, width);
  let [drawn, ended] = [false, false];
  const draw = async (): Promise<void> => {
    const { isatty } = await import('node:tty');
    if (!isatty(2)) {
      clearInterval(timer);
      if (!verbose) return;
      const line = await describe(Infinity);
      if (!ended) say(line);
      return;
    }
    // A job in the background would draw over what the one in the foreground shows.
    if (!isInForeground()) return;
    const line = await describe((process.stderr.columns || 80) - 1);
    if (ended) return;
    if (!drawn) signals.beforeDeath(end);
    drawn = true;
    wipe();
    process.stderr.write(line);
  };
  const end = (): void => {
    ended = true;
    clearInterval(timer);
    signals.beforeDeath(undefined);
    if (drawn && isInForeground()) wipe();
  };
  const timer = setInterval(draw, EVERY_MS).unref();
  return end;
}

/** To the start of the line, and clear it. */
function wipe(): void {
  process.stderr.write('\u001b[1G\u001b[2K');
}

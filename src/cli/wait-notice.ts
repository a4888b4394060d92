/**
 * While a command waits for its lock: names the holder, at a terminal on a line that is redrawn and wiped at the end.
 */
import { constants } from 'node:os';
import { clearLine, cursorTo } from 'node:readline';
import { isatty } from 'node:tty';
import { cut, printable } from '../printable.js';
import { isInForeground } from './child.js';
import { statusOf } from './lock-status.js';
import { say } from './output.js';
import { ago } from './reasons.js';

const EVERY_MS = 1000;
const FATAL = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const;

/**
 * Nothing is said in the first second, nor, unless `verbose`, where there is no terminal. A fatal signal ends the
 * process, and the command is never started. Returns what ends all this.
 * @param held why it waits, in at most so many columns
 */
export function announceWait(
  name: string,
  held: (width: number) => string,
  verbose: boolean,
  ignored: readonly NodeJS.Signals[],
): () => void {
  const start = `waiting for ${printable(name)}`;
  const describe = (width: number): string => `${start}${held(width - start.length)}`.slice(0, width);
  const terminal = isatty(2);
  let drawn = false;
  const draw = (): void => {
    if (!terminal) {
      clearInterval(timer);
      say(describe(Infinity));
      return;
    }
    // A job in the background would draw over what the one in the foreground shows.
    if (!isInForeground()) return;
    drawn = true;
    wipe();
    process.stderr.write(describe((process.stderr.columns || 80) - 1));
  };
  const wipe = (): void => {
    cursorTo(process.stderr, 0);
    clearLine(process.stderr, 0);
  };
  const end = (): void => {
    clearInterval(timer);
    for (const signal of FATAL) process.off(signal, die);
    if (drawn && isInForeground()) wipe();
  };
  // As fatal as without a listener. With one also for process 1, which has no default actions, and SIGUSR1, which would
  // start Node's debugger.
  const die = (signal: NodeJS.Signals): void => {
    if (ignored.includes(signal)) return;
    end();
    process.kill(process.pid, signal);
    process.exit(128 + constants.signals[signal]);
  };
  const timer = terminal || verbose ? setInterval(draw, EVERY_MS).unref() : undefined;
  for (const signal of FATAL) process.on(signal, die);
  return end;
}

/** The holder, in short: ` — held by pid 4711 (make all, started 3 s ago), 2 waiting`. Nothing if there is none. */
export function heldBy(path: string, width = Infinity): string {
  const { holders, waiters } = statusOf(path);
  const [holder] = holders;
  if (holder === undefined) return '';
  const byPid = holder.pid === undefined ? '' : ` by pid ${holder.pid}`;
  const before = ` — held${byPid} (`;
  const started = holder.started === undefined ? '' : `, started ${ago(holder.started)}`;
  const others = holders.length > 1 ? ` and ${holders.length - 1} more` : '';
  const after = `${started})${others}${waiters.length > 0 ? `, ${waiters.length} waiting` : ''}`;
  // If it would be too wide, the command is cut, and then the end.
  const room = Math.max(10, width - before.length - after.length);
  const command = holder.command ?? (holder.mechanism === 'lockfile' ? 'unknown' : 'not visible from here');
  return `${before}${cut(printable(command), room)}${after}`;
}

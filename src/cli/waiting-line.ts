/** Says whom a command waits for: at a terminal on a line that is redrawn and goes when the wait is over. */
import { clearLine, cursorTo } from 'node:readline';
import { partiesAt } from './parties.js';
import { ago, cut } from './reasons.js';

const EVERY_MS = 1000;
const FATAL = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Nothing is said in the first second, nor, unless `verbose`, where there is no terminal. Returns what ends it. */
export function announceWait(path: string, verbose: boolean): () => void {
  const terminal = process.stderr.isTTY;
  if (!terminal && !verbose) return () => {};
  let drawn = false;
  const draw = (): void => {
    if (!terminal) {
      clearInterval(timer);
      process.stderr.write(`fairlock: ${describe(path, Infinity)}\n`);
      return;
    }
    drawn = true;
    wipe();
    process.stderr.write(describe(path, (process.stderr.columns || 80) - 1));
  };
  const wipe = (): void => {
    cursorTo(process.stderr, 0);
    clearLine(process.stderr, 0);
  };
  const end = (): void => {
    clearInterval(timer);
    for (const signal of FATAL) process.off(signal, die);
    if (drawn && terminal) wipe();
  };
  // As fatal as without a listener; the command was not started, and now never is.
  const die = (signal: NodeJS.Signals): void => {
    end();
    process.kill(process.pid, signal);
  };
  const timer = setInterval(draw, EVERY_MS).unref();
  if (terminal) for (const signal of FATAL) process.on(signal, die);
  return end;
}

/** If it would be too wide, the command is cut, and then the end. */
function describe(path: string, width: number): string {
  const { holders, waiters } = partiesAt(path);
  const [holder] = holders;
  if (holder === undefined) return `waiting for ${path}`.slice(0, width);
  const who = holder.pid === undefined ? '' : ` by pid ${holder.pid}`;
  const before = `waiting for ${path} — held${who} (`;
  const started = holder.started === undefined ? '' : `, started ${ago(holder.started)}`;
  const others = holders.length > 1 ? ` and ${holders.length - 1} more` : '';
  const after = `${started})${others}${waiters.length > 0 ? `, ${waiters.length} in line` : ''}`;
  const room = Math.max(10, width - before.length - after.length);
  return `${before}${cut(holder.command ?? 'unknown', room)}${after}`.slice(0, width);
}

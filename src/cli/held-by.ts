/** The holder of a lock, in short. */
import { cut, printable } from '../printable.js';
import { statusOf } from './lock-status.js';
import { ago } from './reasons.js';

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

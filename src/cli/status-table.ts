/** Tables of processes that hold and wait, without lines around them, as ps(1) has them. */
import { relative } from 'node:path';
import { cut, printable } from '../printable.js';
import type { Party } from './lock-status.js';

const EDGES = ['top', 'bottom', 'left', 'mid', 'right'];
const BORDERS = [
  ...EDGES,
  ...['top-mid', 'top-left', 'top-right', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left-mid', 'mid-mid', 'right-mid'],
];

export const NO_PROCESS = 'no process holds or waits\n';

export async function tableOf(head: readonly string[], rows: readonly string[][]): Promise<string> {
  const { default: Table } = await import('cli-table3');
  const chars = Object.fromEntries([...BORDERS.map((name) => [name, '']), ['middle', '  ']]);
  const style = { head: [], border: [], 'padding-left': 0, 'padding-right': 0 };
  const table = new Table({ head: [...head], chars, style });
  table.push(...rows.map((row) => [...row]));
  return `${table.toString().replace(/ +$/gm, '')}\n`;
}

export function nameOf(path: string): string {
  return printable(relative('', path) || '.');
}

/** So that a row fits a line. @param others how many columns all else takes */
export function shownCommand({ pid, command, mechanism }: Party, others: number): string {
  const room = Math.max(20, (process.stdout.columns || 120) - others);
  const unknown = pid === undefined && mechanism !== 'lockfile' ? 'not visible from here' : '?';
  return cut(printable(command ?? unknown), room);
}

/** `fairlock status`: holders and waiters. */
import { readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { clearScreenDown, cursorTo } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { Look, lockedAmong, parseSiblingName } from '../inspect/index.js';
import { cut, printable } from '../printable.js';
import { CliError, NO_INPUT } from './exit-codes.js';
import { type LockStatus, needPlatformThatTells, type Party, statusOf } from './lock-status.js';
import { printJson, printLines } from './output.js';
import { ago, reasonOf } from './reasons.js';

const EVERY_MS = 1000;
const HEAD = ['FILE', 'PID', 'COMMAND', 'STATE', 'MODE', 'MECHANISM', 'STARTED'];
/** Drawn by none, as ps(1) does. */
const EDGES = ['top', 'bottom', 'left', 'mid', 'right'];
const BORDERS = [
  ...EDGES,
  ...['top-mid', 'top-left', 'top-right', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left-mid', 'mid-mid', 'right-mid'],
];

export async function status(
  paths: readonly string[],
  { json, watch }: { json: boolean; watch: boolean },
): Promise<number> {
  needPlatformThatTells();
  // One look for all of them: the list of locks and the open files of all processes are read once.
  const find = (): LockStatus[] => {
    const look = new Look();
    return paths.flatMap((path) => (isFolder(path, look) ? busyIn(path, look) : [statusOf(path, look)]));
  };
  for (;;) {
    const found = find();
    const text = json ? undefined : await asTable(found);
    if (watch && process.stdout.isTTY) {
      cursorTo(process.stdout, 0, 0);
      clearScreenDown(process.stdout);
    }
    if (text === undefined) printJson(found);
    else printLines(text);
    if (!watch) return 0;
    await setTimeout(EVERY_MS);
  }
}

function isFolder(path: string, look: Look): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    // A lock folder needs no file that it locks.
    if (statusOf(path, look).holders.length > 0) return false;
    throw new CliError(`${path}: ${reasonOf(error)}`, NO_INPUT);
  }
}

/** The locks in a folder, and the folder itself if it is one, with holders or waiters. */
function busyIn(folder: string, look: Look): LockStatus[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(
    ({ name }) => parseSiblingName(name) === undefined,
  );
  const files = entries.filter((entry) => entry.isFile()).map(({ name }) => join(folder, name));
  const lockFolders = entries
    .filter((entry) => entry.isDirectory() && entry.name.endsWith('.lock'))
    .map(({ name }) => join(folder, name.slice(0, -5)));
  const candidates = new Set([...lockedAmong([folder, ...files], look), ...lockFolders]);
  const statuses = [...candidates].map((path) => statusOf(path, look));
  return statuses.filter(({ holders, waiters }) => holders.length + waiters.length > 0);
}

async function asTable(found: readonly LockStatus[]): Promise<string> {
  const rows = found.flatMap(({ path, holders, waiters }) => [
    ...holders.map((party) => row(path, party, 'holds')),
    ...waiters.map((party, i) => row(path, party, `waits #${i + 1}`)),
  ]);
  if (rows.length === 0) return 'no process holds or waits\n';
  const { default: Table } = await import('cli-table3');
  const chars = Object.fromEntries([...BORDERS.map((name) => [name, '']), ['middle', '  ']]);
  const table = new Table({
    head: HEAD,
    chars,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  table.push(...rows);
  return `${table.toString().replace(/ +$/gm, '')}\n`;
}

function row(path: string, { pid, command, mode, mechanism, started }: Party, state: string): string[] {
  // So that a row fits a line.
  const room = Math.max(20, (process.stdout.columns || 120) - 80);
  const since = started === undefined ? '?' : ago(started);
  const name = printable(relative('', path) || '.');
  return [
    name,
    String(pid ?? '?'),
    cut(printable(command ?? (pid === undefined && mechanism !== 'lockfile' ? 'not visible from here' : '?')), room),
    state,
    mode ?? '?',
    mechanism,
    since,
  ];
}

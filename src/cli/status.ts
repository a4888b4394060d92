/** `fairlock status`: holders and waiters. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Look, lockedAmong, parseSiblingName } from '../inspect/index.js';
import { CliError, NO_INPUT } from './exit-codes.js';
import { type LockStatus, needPlatformThatTells, type Party, statusOf } from './lock-status.js';
import { printJson, printLines } from './output.js';
import { ago, reasonOf } from './reasons.js';
import { NO_PROCESS, nameOf, shownCommand, tableOf } from './status-table.js';

const HEAD = ['FILE', 'PID', 'COMMAND', 'STATE', 'MODE', 'MECHANISM', 'STARTED'];

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
  if (watch) {
    const { watch: watchLocks } = await import('./watch.js');
    return watchLocks(find, json);
  }
  const found = find();
  if (json) printJson(found);
  else printLines(await asTable(found));
  return 0;
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
  return rows.length === 0 ? NO_PROCESS : tableOf(HEAD, rows);
}

function row(path: string, party: Party, state: string): string[] {
  const { pid, mode, mechanism, started } = party;
  const since = started === undefined ? '?' : ago(started);
  return [nameOf(path), String(pid ?? '?'), shownCommand(party, 80), state, mode ?? '?', mechanism, since];
}

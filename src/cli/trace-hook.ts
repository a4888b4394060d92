/** Loaded before each program that `fairlock trace` starts: writes down what happens to its locks. */
import { subscribe } from 'node:diagnostics_channel';
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { commandLine } from '../command-line.js';
import type { LockGrantEvent } from '../index.js';
import { quietly } from '../quietly.js';
import { now, type Recorded, TRACE_FOLDER, type TraceEvent } from './trace-events.js';

const folder = process.env[TRACE_FOLDER];
const holds = new WeakMap<object, number>();
/** Holds that are not over, by number: what `record` was told of them. */
const open = new Map<number, Partial<LockGrantEvent>>();
let count = 0;
let file: number | undefined;

/** The last line is torn, or may be. */
let isTorn = false;

function write(line: Recorded): void {
  const text = `${isTorn ? '\n' : ''}${JSON.stringify(line)}\n`;
  // On a full disk, say. The trace is no reason to fail.
  isTorn = quietly(() => writeSync(file as number, text)) !== Buffer.byteLength(text);
}

function record(what: TraceEvent['what'], { path, mode, request, hold }: Partial<LockGrantEvent>): void {
  if (path === undefined || folder === undefined) return; // Locks within a process have no path.
  const at = now();
  if (file === undefined) {
    const name = `${process.pid}.${threadId}`;
    file = quietly(() => openSync(join(folder, name), 'a'));
    if (file === undefined) return;
    write({ process: name, command: commandLine(process.argv.slice(1)) });
  }
  if (hold !== undefined && !holds.has(hold)) holds.set(hold, ++count);
  const number = hold === undefined ? undefined : holds.get(hold);
  write({ at, what, path, shared: mode === 'shared', request, hold: number });
  if (number !== undefined && what === 'grant')
    open.set(number, { path, ...(mode && { mode }), ...(hold && { hold }) });
  if (number !== undefined && what === 'release') open.delete(number);
}

// The kernel releases what a process holds at its end; one that is killed does not come here.
process.on('exit', () => {
  for (const event of open.values()) record('release', event);
});

for (const what of ['request', 'cancel', 'grant', 'release', 'loss'] as const)
  subscribe(`fairlock:${what}`, (message) => record(what, message as LockGrantEvent));

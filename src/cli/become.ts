/** The command takes the place of this process: nothing of Node is left, and the lock is the command's. */
import { loadAddon } from '../inspect/index.js';
import { CliError, UNAVAILABLE } from './exit-codes.js';
import { reasonOf } from './reasons.js';
import type { Run, RunOptions } from './run-call.js';
import { lockDescriptor } from './surroundings.js';
import { TRACE_FOLDER } from './trace-events.js';

/** Whether it can, as far as is known before there is a lock. */
export function mayBecome({ close, fork }: RunOptions): boolean {
  // Process 1 has no default actions: a TERM would not end most commands. Where a trace is made, this process tells of the
  // end of the hold.
  const mustStay = close || (fork && (process.pid === 1 || process.env[TRACE_FOLDER] !== undefined));
  return loadAddon().reason === undefined && !mustStay;
}

/** Why this process must stay beside the command; undefined: it need not. @param fd that has the lock */
export function whyBeside(fd: number | undefined, options: RunOptions): string | undefined {
  if (fd === undefined) return 'a lock folder is removed after the command';
  return mayBecome(options) ? undefined : (loadAddon().reason ?? 'it was asked to stay beside the command');
}

/** @param fd that has the lock */
export async function become(fd: number, { command, around, signals }: Run): Promise<never> {
  const addon = loadAddon().api;
  if (addon === undefined) throw new Error('mayBecome says so');
  const words = command.bytes();
  await signals.giveUp(addon);
  if (around.openFiles !== undefined) addon.limitDescriptors(around.openFiles);
  const ended = Buffer.concat(words.flatMap((word) => [word, Buffer.alloc(1)]));
  const errno = addon.exec(ended, fd, lockDescriptor(around), [...around.descriptors]);
  const reason = reasonOf(Object.assign(new Error(), { errno }));
  throw new CliError(`failed to execute ${command.file}: ${reason}`, UNAVAILABLE);
}

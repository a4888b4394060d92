/** The command takes the place of this process: nothing of Node is left, and the lock is the command's. */
import type { LockHandle } from '../index.js';
import { loadAddon } from '../inspect/index.js';
import { CliError, UNAVAILABLE } from './exit-codes.js';
import { reasonOf } from './reasons.js';
import type { Signals } from './signals.js';
import { lockDescriptor, type Surroundings } from './surroundings.js';

/** Why this process must stay beside the command; undefined: it need not. */
export function whyBeside(handle: LockHandle, { close, fork }: { close: boolean; fork: boolean }): string | undefined {
  const { reason } = loadAddon();
  if (reason !== undefined) return reason;
  if (handle.fd === undefined) return 'a lock folder is removed after the command';
  if (close) return 'the command does not inherit the lock';
  // Process 1 has no default actions: a TERM would not end most commands.
  return fork && process.pid === 1 ? 'as process 1 it passes signals on' : undefined;
}

/** @param words the command's, as bytes */
export async function become(
  words: readonly Buffer[],
  handle: LockHandle,
  around: Surroundings,
  signals: Signals,
): Promise<never> {
  const addon = loadAddon().api;
  if (addon === undefined || handle.fd === undefined) throw new Error('whyBeside says why not');
  await signals.giveUp(addon);
  if (around.openFiles !== undefined) addon.limitDescriptors(around.openFiles);
  const ended = Buffer.concat(words.flatMap((word) => [word, Buffer.alloc(1)]));
  const errno = addon.exec(ended, handle.fd, lockDescriptor(around), [...around.descriptors]);
  const reason = reasonOf(Object.assign(new Error(), { errno }));
  throw new CliError(`failed to execute ${words[0]}: ${reason}`, UNAVAILABLE);
}

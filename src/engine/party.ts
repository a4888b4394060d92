/** What the requests of this process say of it in a service that keeps a text for each; and what others have said. */
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';
import { ownCommand } from '../command-line.js';
import type { LockParty } from '../options.js';
import { quietly } from '../quietly.js';

/** Without its end. Once: the name of the machine takes a system call. */
let own: string | undefined;

export function ownDescription(): string {
  own ??= JSON.stringify({ host: hostname(), pid: process.pid, thread: threadId, command: ownCommand() }).slice(0, -1);
  return `${own},"since":"${new Date().toISOString()}"}`;
}

/** The text may be another program's. */
export function describedBy(text: string): Omit<LockParty, 'shared'> {
  const known = quietly(() => JSON.parse(text) as Record<string, unknown> | null);
  if (!known) return { pid: 0 };
  const { host, pid, command, since } = known;
  return { pid: Number(pid), host: String(host), command: String(command), since: new Date(String(since)) };
}

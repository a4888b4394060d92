/** Held and pending requests beyond this thread: of the process's other threads, and of other processes. */
import { threadId } from 'node:worker_threads';
import { isTicket, locksIn, modeByteOf, parseSiblingName, publish, published } from '../inspect/index.js';
import { nameOf } from './file-names.js';
import type { LockMode } from './lock.js';
import type { LockInfo } from './types.js';

export interface Seen {
  held: Required<LockInfo>[];
  pending: Required<LockInfo>[];
}

interface Publication {
  directory: string;
  held: boolean;
  info: Required<LockInfo>;
  /** When it was granted or, if it is pending, made. */
  at: number;
}

export const CLIENT_ID = clientOf(process.pid) + (threadId === 0 ? '' : `/${threadId}`);

function clientOf(pid: number): string {
  return `pid-${pid}`;
}

/** Publishes a request to the other threads of this process. Returns a function that takes it back. */
export function publishInfo(directory: string, held: boolean, info: Required<LockInfo>): () => void {
  const one: Publication = { directory, held, info, at: performance.timeOrigin + performance.now() };
  return publish(JSON.stringify(one));
}

/** What the other threads have published. Without the addon nothing is known of them. */
export function inOtherThreads(directory: string): Seen {
  const all = published().map((text) => JSON.parse(text) as Publication);
  const here = all.filter((one) => one.directory === directory).sort((a, b) => a.at - b.at);
  const infos = (held: boolean): Required<LockInfo>[] =>
    here.filter((one) => one.held === held).map(({ info }) => info);
  return { held: infos(true), pending: infos(false) };
}

/** What the kernel shows: of pending requests those with a ticket, and nothing of names that are only a hash. */
export function inOtherProcesses(directory: string): Seen {
  const held: Required<LockInfo>[] = [];
  const tickets: { ticket: number; info: Required<LockInfo> }[] = [];
  const locks = [...locksIn(directory)];
  const readers = new Set(locks.filter((lock) => lock.shared).map((lock) => `${lock.name}\0${lock.start}`));
  for (const { pid, name: file, kind, shared, start } of locks) {
    if (pid === process.pid) continue;
    const sibling = parseSiblingName(file);
    const waitedFor = sibling?.what === 'queue' ? sibling.owner : undefined;
    const name = nameOf(waitedFor ?? file);
    if (name === undefined) continue;
    const info = (mode: LockMode): Required<LockInfo> => ({ name, mode, clientId: clientOf(pid) });
    if (waitedFor === undefined && kind === 'FLOCK') held.push(info(shared ? 'shared' : 'exclusive'));
    if (waitedFor === undefined || !isTicket({ shared, start })) continue;
    tickets.push({ ticket: start, info: info(readers.has(`${file}\0${modeByteOf(start)}`) ? 'shared' : 'exclusive') });
  }
  return { held, pending: tickets.sort((a, b) => a.ticket - b.ticket).map(({ info }) => info) };
}

/** Held and pending requests beyond this thread: of the process's other threads, and of other processes. */
import { threadId } from 'node:worker_threads';
import { besidesWhat } from '../files/canonical-path.js';
import { isTicket, locksIn, modeByteOf } from '../inspect/proc-locks.js';
import { loadNativeFallback } from '../native/addon.js';
import { nameOf } from './file-names.js';
import type { LockMode } from './lock.js';
import type { LockInfo } from './types.js';

export interface Seen {
  held: Required<LockInfo>[];
  pending: Required<LockInfo>[];
}

interface Post {
  directory: string;
  held: boolean;
  info: Required<LockInfo>;
  /** Since when it is what it is. */
  at: number;
}

export const CLIENT_ID = clientOf(process.pid) + (threadId === 0 ? '' : `/${threadId}`);

function clientOf(pid: number): string {
  return `pid-${pid}`;
}

/** Tells the other threads of this process. Returns what takes it back. */
export function tellThreads(directory: string, held: boolean, info: Required<LockInfo>): () => void {
  const addon = loadNativeFallback().api;
  if (addon === undefined) return () => {};
  const post: Post = { directory, held, info, at: performance.timeOrigin + performance.now() };
  const place = addon.post(JSON.stringify(post));
  return () => addon.removePost(place);
}

/** What the other threads have told. Without the addon nothing is known of them. */
export function inOtherThreads(directory: string): Seen {
  const posts = (loadNativeFallback().api?.posts() ?? []).map((text) => JSON.parse(text) as Post);
  const here = posts.filter((post) => post.directory === directory).sort((a, b) => a.at - b.at);
  const infos = (held: boolean): Required<LockInfo>[] =>
    here.filter((post) => post.held === held).map(({ info }) => info);
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
    const beside = besidesWhat(file);
    const waitedFor = beside?.what === 'queue' ? beside.owner : undefined;
    const name = nameOf(waitedFor ?? file);
    if (name === undefined) continue;
    const info = (mode: LockMode): Required<LockInfo> => ({ name, mode, clientId: clientOf(pid) });
    if (waitedFor === undefined && kind === 'FLOCK') held.push(info(shared ? 'shared' : 'exclusive'));
    if (waitedFor === undefined || !isTicket({ shared, start })) continue;
    tickets.push({ ticket: start, info: info(readers.has(`${file}\0${modeByteOf(start)}`) ? 'shared' : 'exclusive') });
  }
  return { held, pending: tickets.sort((a, b) => a.ticket - b.ticket).map(({ info }) => info) };
}

/** The first bytes of a sidecar: that it is one, and the version of the queue's protocol. See docs/protocol.md. */
import { fstatSync, readSync } from 'node:fs';

/** As in native-fallback/src/ticket.h, which writes it. */
export const QUEUE_MAGIC = 'fairlock-queue ';
export const QUEUE_VERSION = '2';

/** Undefined: no content yet, or another program's. */
export function queueVersionOf(fd: number): string | undefined {
  if (fstatSync(fd).size === 0) return undefined;
  const start = Buffer.alloc(16);
  const length = readSync(fd, start, 0, start.length, 0);
  const text = start.toString('latin1', 0, length);
  return text.startsWith(QUEUE_MAGIC) ? text.slice(QUEUE_MAGIC.length).trim() : undefined;
}

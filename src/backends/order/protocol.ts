/** The version of the queue's protocol, which the first bytes of a sidecar name: see docs/protocol.md. */
import { ftruncateSync } from 'node:fs';
import { LockMismatchError } from '../../errors.js';
import type { OpenFile } from '../../files/open-file.js';
import { QUEUE_VERSION, queueVersionOf } from '../../files/queue-header.js';
import { CONTENDED, GRANTED } from '../../native/addon.js';

/**
 * A sidecar that another version has left is made anew while no process uses it: then nothing of it is locked.
 * @throws {LockMismatchError} processes of both versions queue at this moment, and would not see each other
 */
export function checkProtocol(sidecar: OpenFile, path: string): void {
  const version = queueVersionOf(sidecar.fd);
  if (version === undefined || version === QUEUE_VERSION) return;
  const { nativeFile } = sidecar;
  const status = nativeFile.tryLock('exclusive');
  if (status === CONTENDED) {
    throw new LockMismatchError(
      path,
      `processes queue there by protocol ${version} of the queue, and this version of fairlock speaks protocol ` +
        `${QUEUE_VERSION}. Let all processes on this path use one of the two; once none queues, the file is made anew`,
    );
  }
  try {
    if (status === GRANTED) ftruncateSync(sidecar.fd, 0); // Else it is not at its path any more, as its user will find.
  } finally {
    nativeFile.unlock();
  }
}

/** The files that fairlock keeps beside a lock file, and their names. */
import { basename, dirname, join } from 'node:path';

/**
 * `queue`: the sidecar with the tickets; `leader`: a record; `once` and the folder `outcomes`: those of `runOnce`;
 * `steal-…`: a new lock file before its renaming; `native`: the mark that it is locked natively, where a file has no bit
 * for it (Windows).
 */
export type Sibling = 'queue' | 'leader' | 'once' | 'outcomes' | 'native' | `steal-${string}`;

export function siblingPath(canonical: string, what: Sibling): string {
  return join(dirname(canonical), `.${basename(canonical)}.fairlock-${what}`);
}

/** The other way round: whose sibling a file of this name is. */
export function parseSiblingName(name: string): { owner: string; what: string } | undefined {
  const [, owner, what] = /^\.(.+)\.fairlock-([\w.-]+)$/s.exec(name) ?? [];
  return owner === undefined || what === undefined ? undefined : { owner, what };
}

/** The file of the ticket queue. */
export function sidecarOf(canonical: string): string {
  return siblingPath(canonical, 'queue');
}

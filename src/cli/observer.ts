/** Locks that are looked at again and again: since when each process has been seen to hold or to wait, and when it was over. */
import type { LockStatus, Party } from './lock-status.js';
import type { Span } from './trace-events.js';

export class Observer {
  readonly #open = new Map<string, Span>();

  /** What a look at `at` adds. A span is known to be over at the first look that does not see it. */
  see(statuses: readonly LockStatus[], at: number): { begun: Span[]; ended: Span[] } {
    const begun: Span[] = [];
    const seen = new Set<string>();
    for (const { path, holders, waiters } of statuses) {
      for (const [kind, parties] of [
        ['hold', holders],
        ['wait', waiters],
      ] as const) {
        for (const party of parties) {
          const key = keyOf(path, kind, party);
          seen.add(key);
          let span = this.#open.get(key);
          if (span === undefined) {
            const { pid, command = '', mode } = party;
            const shared = mode === 'shared' || mode === 'permit';
            const process = pid === undefined ? 'not seen' : `${pid}.0`;
            span = { process, command, path, kind, shared, begin: at, end: at };
            this.#open.set(key, span);
            begun.push(span);
          }
        }
      }
    }
    const ended: Span[] = [];
    for (const [key, span] of this.#open) {
      span.end = at;
      if (seen.has(key)) continue;
      this.#open.delete(key);
      ended.push(span);
    }
    return { begun, ended };
  }

  /** Since when it has been seen. */
  since(path: string, kind: Span['kind'], party: Party): number | undefined {
    return this.#open.get(keyOf(path, kind, party))?.begin;
  }
}

function keyOf(path: string, kind: Span['kind'], { pid, mechanism }: Party): string {
  return JSON.stringify([path, kind, pid, mechanism]);
}

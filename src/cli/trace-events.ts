import { quietly } from '../quietly.js';
/** What is written down of locks while they are traced, and the bars that it comes to. */

/** Names the folder of the records, to the programs that are traced. */
export const TRACE_FOLDER = 'FAIRLOCK_TRACE_FOLDER';

/** The machine's monotonic clock, in ms: the same for all processes. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The first line of a record. */
export interface Recorder {
  /** `<pid>.<thread>` */
  process: string;
  command: string;
}

export interface TraceEvent {
  /** As `now` says. */
  at: number;
  what: 'request' | 'cancel' | 'grant' | 'release' | 'loss';
  path: string;
  shared: boolean;
  request?: number | undefined;
  hold?: number | undefined;
}

export type Recorded = Recorder | TraceEvent;

export interface Span {
  /** One lane: a thread of a process. */
  process: string;
  command: string;
  path: string;
  kind: 'wait' | 'hold';
  shared: boolean;
  begin: number;
  end: number;
  /** How it ended, if not by a grant or a release. */
  outcome?: 'cancelled' | 'lost' | 'died' | 'not over' | undefined;
}

/** How the record of a thread is called, in the folder of the records. */
export const RECORD = /^\d+\.\d+$/;

/**
 * The spans of one record. Lines may be torn, or missing: of a process that was killed in the midst of one, or on a disk
 * that was full for a while.
 * @param name of the record: the thread that wrote it
 */
export function spansOf(record: string, traceEnd: number, name = '?'): Span[] {
  const lines = record.split('\n').flatMap(parsed);
  const { process = name, command = '' } = lines.find((line): line is Recorder => 'process' in line) ?? {};
  const waits = new Map<number, Span>();
  const holds = new Map<number, Span>();
  const spans: Span[] = [];
  const begin = (kind: Span['kind'], { at, path, shared }: TraceEvent): Span => {
    const span: Span = { process, command, path, kind, shared, begin: at, end: traceEnd, outcome: 'not over' };
    spans.push(span);
    return span;
  };
  const end = (span: Span | undefined, at: number, outcome?: Span['outcome']): void => {
    if (span?.outcome === 'not over') Object.assign(span, { end: at, outcome });
  };
  for (const event of lines) {
    if (!('what' in event)) continue;
    const { what, at, request = -1, hold = -1 } = event;
    if (what === 'request') waits.set(request, begin('wait', event));
    else if (what === 'cancel') end(waits.get(request), at, 'cancelled');
    else if (what === 'loss') end(holds.get(hold), at, 'lost');
    else if (what === 'release') end(holds.get(hold), at);
    else if (what === 'grant') {
      end(waits.get(request), at);
      holds.set(hold, begin('hold', event));
    }
  }
  return spans;
}

function parsed(line: string): Recorded[] {
  const value = quietly(() => JSON.parse(line) as Partial<Recorder & TraceEvent> | null);
  const isEvent = typeof value?.at === 'number' && typeof value.path === 'string';
  return typeof value?.process === 'string' || isEvent ? [value as Recorded] : [];
}

/**
 * A process that was killed has not said so: what it held is over, at the latest, when an exclusive lock on the same
 * path was granted to another one.
 */
export function closeOpenSpans(spans: readonly Span[]): void {
  const holds = spans.filter(({ kind }) => kind === 'hold');
  for (const span of holds) {
    if (span.outcome !== 'not over') continue;
    const next = holds
      .filter(({ path, shared, begin }) => path === span.path && !shared && begin > span.begin)
      .reduce((first, { begin }) => Math.min(first, begin), span.end);
    if (next < span.end) Object.assign(span, { end: next, outcome: 'died' });
  }
}

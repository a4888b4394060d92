/** `fairlock status --watch`: which processes hold and wait, since when, and how long that takes. */
import { clearScreenDown, cursorTo } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { cut } from '../printable.js';
import type { LockStatus, Party } from './lock-status.js';
import { Observer } from './observer.js';
import { printJson, printLines } from './output.js';
import { NO_PROCESS, nameOf, shownCommand, tableOf } from './status-table.js';
import { now, type Span } from './trace-events.js';
import { duration } from './trace-view/model.js';

const DRAWN_EVERY_MS = 1000;
/** A look that takes long is made less often, so that looking takes a tenth of a processor at most. */
const LOOKS_EVERY_MS = 50;
const SHARE = 10;
/** Of so many last ones the median is told. */
const KEPT = 500;

export async function watch(find: () => LockStatus[], json: boolean): Promise<never> {
  const observer = new Observer();
  const histories = new Map<string, History>();
  let first: number | undefined;
  for (let drawn = -Infinity; ; ) {
    const at = now();
    first ??= at;
    const known = first;
    const statuses = find();
    const { begun, ended } = observer.see(statuses, at);
    for (const span of begun) historyOf(histories, span.path);
    // One that was there before the first look has lasted longer than it was seen.
    for (const span of ended) if (span.begin > known) historyOf(histories, span.path).add(span);
    const interval = Math.max(LOOKS_EVERY_MS, (now() - at) * SHARE);
    if (now() - drawn >= DRAWN_EVERY_MS) {
      drawn = now();
      const since = (path: string, kind: Span['kind'], party: Party): Seen => {
        const begin = observer.since(path, kind, party) ?? at;
        return { ms: at - begin, atLeast: begin <= known };
      };
      if (json) printJson(asJson(statuses, since));
      else await draw(asText(statuses, histories, since, interval));
    }
    await setTimeout(interval);
  }
}

interface Seen {
  ms: number;
  /** It was there already at the first look. */
  atLeast: boolean;
}
type Since = (path: string, kind: Span['kind'], party: Party) => Seen;

class History {
  readonly holds: number[] = [];
  readonly waits: number[] = [];
  count = { hold: 0, wait: 0 };
  longest = { hold: 0, wait: 0 };

  add({ kind, begin, end }: Span): void {
    const list = kind === 'hold' ? this.holds : this.waits;
    if (list.push(end - begin) > KEPT) list.shift();
    this.count[kind]++;
    this.longest[kind] = Math.max(this.longest[kind], end - begin);
  }
}

function historyOf(histories: Map<string, History>, path: string): History {
  const history = histories.get(path) ?? new History();
  histories.set(path, history);
  return history;
}

function asJson(statuses: readonly LockStatus[], since: Since): unknown {
  const timed = (path: string, kind: Span['kind'], parties: readonly Party[]): unknown[] =>
    parties.map((party) => {
      const { ms, atLeast } = since(path, kind, party);
      return { ...party, seenSince: new Date(Date.now() - ms), atLeast };
    });
  return statuses.map(({ path, holders, waiters }) => {
    return { path, holders: timed(path, 'hold', holders), waiters: timed(path, 'wait', waiters) };
  });
}

async function asText(
  statuses: readonly LockStatus[],
  histories: ReadonlyMap<string, History>,
  since: Since,
  interval: number,
): Promise<string> {
  const shown = ({ ms, atLeast }: Seen): string => `${atLeast ? '> ' : ''}${duration(ms)}`;
  const row = (path: string, party: Party, kind: Span['kind'], state: string): string[] => {
    const seen = shown(since(path, kind, party));
    return [
      nameOf(path),
      state,
      seen,
      String(party.pid ?? '?'),
      shownCommand(party, 70),
      party.mode ?? '?',
      party.mechanism,
    ];
  };
  const rows = statuses.flatMap(({ path, holders, waiters }) => [
    ...holders.map((party) => row(path, party, 'hold', 'holds')),
    ...waiters.map((party, i) => row(path, party, 'wait', `waits #${i + 1}`)),
  ]);
  const heads = ['FILE', 'STATE', 'FOR', 'PID', 'COMMAND', 'MODE', 'MECHANISM'];
  const current = rows.length === 0 ? NO_PROCESS : await tableOf(heads, rows);
  const past = [...histories].filter(([, { count }]) => count.hold + count.wait > 0);
  if (past.length === 0) return current;
  const figures = (times: readonly number[], count: number, longest: number): string[] =>
    count === 0 ? ['0', '', ''] : [String(count), duration(median(times)), duration(longest)];
  const table = await tableOf(
    ['OVER', 'HOLDS', 'MEDIAN', 'LONGEST', 'WAITS', 'MEDIAN', 'LONGEST'],
    past.map(([path, { holds, waits, count, longest }]) => [
      nameOf(path),
      ...figures(holds, count.hold, longest.hold),
      ...figures(waits, count.wait, longest.wait),
    ]),
  );
  return `${current}\n${table}Looked at every ${duration(interval)}: what is shorter is not seen.\n`;
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 1] ?? 0;
}

/** On a terminal in place of what was drawn before, as far as there is room. */
async function draw(text: Promise<string>): Promise<void> {
  const lines = (await text).split('\n');
  if (!process.stdout.isTTY) return printLines(lines.join('\n'));
  const { rows, columns } = process.stdout;
  const room = Math.max(2, rows - 1);
  const fitting =
    lines.length <= room ? lines : [...lines.slice(0, room - 1), `… ${lines.length - room + 1} more lines`];
  cursorTo(process.stdout, 0, 0);
  clearScreenDown(process.stdout);
  printLines(fitting.map((line) => cut(line, columns)).join('\n'));
}

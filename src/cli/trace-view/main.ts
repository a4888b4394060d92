/** The page of `fairlock trace`, in the browser. */
import type uPlot from 'uplot';
import { themeOf } from './colours.js';
import { depthPlot, STRIP_HEIGHT } from './depth-plot.js';
import type { Range } from './lane-input.js';
import { Lanes } from './lanes.js';
import {
  type Bar,
  type Blocking,
  duration,
  HOLD,
  type LockSummary,
  Model,
  OUTCOMES,
  type TraceData,
  withoutCommonFolder,
} from './model.js';
import { type Column, element, table, wrapped } from './tables.js';
import { traceEvents } from './trace-event-format.js';

const MOST_ROWS = 200;
const MOST_STEPS = 3000;

const data = JSON.parse(byId('data').textContent ?? '') as TraceData;
const model = new Model(data);
const summaries = model.locks();
const longestWaits = model.longestWaits(data.rows.length);
const blocking = model.blocking(data.rows.length);
const ranks: number[] = [];
for (const [rank, { lock }] of summaries.entries()) ranks[lock] = rank;
/** Without the folder that all locks are in. */
const shortNames = withoutCommonFolder(data.locks);
const dark = matchMedia('(prefers-color-scheme: dark)');

let only: number | undefined;
let search = '';

function byId(id: string): HTMLElement {
  return document.getElementById(id) as HTMLElement;
}

function isShown({ process, lock }: Bar): boolean {
  if (only !== undefined && lock !== only) return false;
  if (search === '') return true;
  const { name, command } = data.processes[process] ?? { name: '', command: '' };
  return `${name} ${command} ${data.locks[lock]}`.toLowerCase().includes(search);
}

const lanes = new Lanes(byId('lanes'), model, ranks, themeOf(dark.matches), {
  zoom: (range) => showRange(range),
  select: (bar) => select(bar),
  hover: (text, x, y) => {
    const tip = byId('tip');
    tip.textContent = text;
    tip.hidden = text === '';
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 16}px`;
  },
});

function depthData(): uPlot.AlignedData {
  const { times, counts } = Model.thinned(depth, lanes.range, MOST_STEPS);
  return [times, counts];
}

const makePlot = (): uPlot => depthPlot(byId('depth'), depthData(), themeOf(dark.matches), setRange);

let depth = model.depth(isShown);
let plot = makePlot();

function showRange({ from, to }: Range): void {
  plot.setData(depthData(), false);
  plot.setScale('x', { min: from, max: to });
  byId('range').textContent = `${duration(from)} to ${duration(to)}`;
}

function setRange(range: Range): void {
  lanes.range = range;
  showRange(lanes.range);
}

function refresh(): void {
  lanes.show(isShown);
  depth = model.depth(isShown);
  showRange(lanes.range);
  showTables();
}

/** What is known of a wait or a hold, and what it was for. */
function select(bar: Bar | undefined): void {
  lanes.select(bar);
  const details = byId('details');
  details.hidden = bar === undefined;
  if (bar === undefined) return;
  const { command } = data.processes[bar.process] ?? { command: '' };
  const outcome = OUTCOMES[bar.outcome];
  const lines: HTMLElement[] = [
    element('p', `${model.describe(bar)}${outcome === '' ? '' : `; ${outcome}`}`),
    element('p', command),
  ];
  if (bar.kind !== HOLD) {
    const holds = model.waitedFor(bar);
    const buttons = holds.slice(0, 20).map((hold) => {
      const overlap = Math.min(bar.end, hold.end) - Math.max(bar.begin, hold.begin);
      const button = element('button', `${model.nameOf(hold.process)} (${duration(overlap)})`);
      button.addEventListener('click', () => select(hold));
      return wrapped('li', button);
    });
    const more = holds.length > 20 ? ` and ${holds.length - 20} more` : '';
    lines.push(element('p', holds.length === 0 ? 'No process is known to have held it.' : `Held meanwhile by${more}:`));
    lines.push(wrapped('ul', ...buttons));
    const overtaken = model.overtaken[bar.id] ?? 0;
    if (overtaken > 0) lines.push(element('p', `Overtaken by ${overtaken} that came later.`));
  }
  const close = element('button', 'Close');
  close.addEventListener('click', () => select(undefined));
  details.replaceChildren(...lines, close);
}

function swatch(lock: number): HTMLElement {
  const mark = document.createElement('span');
  mark.className = 'swatch';
  mark.style.background = themeOf(dark.matches).colour(ranks[lock] ?? Infinity);
  return mark;
}

const time = <T>(head: string, value: (row: T) => number): Column<T> => ({
  head,
  value,
  text: (row) => duration(value(row)),
});

function showTables(): void {
  const matches = (lock: number, ...processes: number[]): boolean =>
    (only === undefined || only === lock) &&
    (search === '' ||
      [data.locks[lock], ...processes.map((one) => `${model.nameOf(one)} ${data.processes[one]?.command}`)]
        .join(' ')
        .toLowerCase()
        .includes(search));
  const lockOf = (lock: number): string => shortNames[lock] ?? '?';
  const locks = table<LockSummary>(
    summaries.filter(({ lock }) => search === '' || matches(lock)),
    [
      { head: 'Lock', value: ({ lock }) => lockOf(lock), title: ({ lock }) => data.locks[lock] ?? '' },
      time('Total wait', ({ totalWait }) => totalWait),
      { head: 'Waits', value: ({ waits }) => waits },
      time('Median', ({ medianWait }) => medianWait),
      time('95 %', ({ p95Wait }) => p95Wait),
      time('Longest', ({ longestWait }) => longestWait),
      { head: 'Holds', value: ({ holds }) => holds },
      time('Median hold', ({ medianHold }) => medianHold),
      time('Longest hold', ({ longestHold }) => longestHold),
      { head: 'Processes', value: ({ processes }) => processes },
      { head: 'Gave up', value: ({ gaveUp }) => gaveUp },
      { head: 'Overtaken', value: ({ overtaken }) => overtaken },
    ],
    {
      caption:
        'Locks, by total wait. A click shows one lock alone. Overtaken: the most that came later and went before.',
      mark: ({ lock }) => swatch(lock),
      choose: ({ lock }) => {
        only = only === lock ? undefined : lock;
        byId('all').hidden = only === undefined;
        refresh();
      },
    },
  );
  const waits = table<Bar>(
    longestWaits.filter(({ lock, process }) => matches(lock, process)).slice(0, MOST_ROWS),
    [
      { head: 'Process', value: ({ process }) => model.nameOf(process) },
      { head: 'Lock', value: ({ lock }) => lockOf(lock), title: ({ lock }) => data.locks[lock] ?? '' },
      time('Waited', ({ begin, end }) => end - begin),
      time('From', ({ begin }) => begin),
      { head: 'Overtaken by', value: ({ id }) => model.overtaken[id] ?? 0 },
      { head: 'Ended', value: ({ outcome }) => OUTCOMES[outcome] || 'granted' },
    ],
    {
      caption: 'Longest waits. A click shows one, and what it was for.',
      mark: ({ lock }) => swatch(lock),
      choose: (bar) => select(bar),
    },
  );
  const pairs = table<Blocking>(
    blocking.filter(({ lock, waiter, holder }) => matches(lock, waiter, holder)).slice(0, MOST_ROWS),
    [
      { head: 'Waiter', value: ({ waiter }) => model.nameOf(waiter) },
      { head: 'Holder', value: ({ holder }) => model.nameOf(holder) },
      { head: 'Lock', value: ({ lock }) => lockOf(lock), title: ({ lock }) => data.locks[lock] ?? '' },
      time('In all', (one) => one.time),
    ],
    { caption: 'Which process waited for which', mark: ({ lock }) => swatch(lock) },
  );
  byId('locks').replaceChildren(locks);
  byId('tables').replaceChildren(waits, pairs);
}

function figures(): void {
  const longest = longestWaits[0];
  const total = summaries.reduce((all, { totalWait }) => all + totalWait, 0);
  const [worst] = blocking;
  const overtaken = summaries.reduce((most, one) => Math.max(most, one.overtaken), 0);
  const shown: [string, string][] = [
    ['lasted', duration(model.end)],
    ['processes', `${data.processes.length}`],
    ['locks', `${data.locks.length}`],
    ['waited in all', duration(total)],
    ['longest wait', longest === undefined ? '–' : duration(longest.end - longest.begin)],
    ['waited most for', worst === undefined ? '–' : `${model.nameOf(worst.holder)} (${duration(worst.time)})`],
    ['most overtaken', `${overtaken} ×`],
  ];
  byId('figures').replaceChildren(
    ...shown.map(([name, value]) => wrapped('div', element('strong', value), element('span', name))),
  );
}

function download(): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(traceEvents(data))], { type: 'application/json' }));
  link.download = 'fairlock-trace.json';
  link.click();
  URL.revokeObjectURL(link.href);
}

byId('search').addEventListener('input', ({ target }) => {
  search = (target as HTMLInputElement).value.trim().toLowerCase();
  refresh();
});
const clicks: [string, () => void][] = [
  ['in', () => lanes.zoomBy(0.5)],
  ['out', () => lanes.zoomBy(2)],
  ['whole', () => setRange(lanes.whole)],
  ['export', download],
  [
    'all',
    () => {
      only = undefined;
      byId('all').hidden = true;
      refresh();
    },
  ],
];
for (const [id, act] of clicks) byId(id).addEventListener('click', act);
dark.addEventListener('change', () => {
  lanes.look = themeOf(dark.matches);
  plot.destroy();
  plot = makePlot();
  refresh();
});
new ResizeObserver(() => {
  plot.setSize({ width: byId('depth').clientWidth, height: STRIP_HEIGHT });
  lanes.show(isShown);
}).observe(byId('lanes'));
figures();
refresh();
document.documentElement.dataset.ready = `${model.bars.length}`;

/** What the page of `fairlock trace` shows, reckoned from waits and holds. Times in ms from the start of the trace. */

export const WAIT = 0;
export const HOLD = 1;
export const OUTCOMES = ['', 'gave up', 'lost', 'killed', 'not over'] as const;
const GAVE_UP = 1;

/** Columns, so that a long trace stays small: process, lock, WAIT or HOLD, shared (0 or 1), begin, end, outcome. */
export type Row = [
  process: number,
  lock: number,
  kind: number,
  shared: number,
  begin: number,
  end: number,
  outcome: number,
];

export interface TraceData {
  title: string;
  note: string;
  processes: { name: string; command: string }[];
  locks: string[];
  rows: Row[];
}

/** A wait or a hold. */
export interface Bar {
  readonly id: number;
  readonly process: number;
  readonly lock: number;
  readonly kind: number;
  readonly shared: boolean;
  readonly begin: number;
  readonly end: number;
  readonly outcome: number;
}

export interface LockSummary {
  lock: number;
  processes: number;
  waits: number;
  totalWait: number;
  medianWait: number;
  p95Wait: number;
  longestWait: number;
  holds: number;
  totalHold: number;
  medianHold: number;
  longestHold: number;
  gaveUp: number;
  /** The most requests that came later than one wait and were granted before it. */
  overtaken: number;
}

export interface Blocking {
  waiter: number;
  holder: number;
  lock: number;
  time: number;
}

export class Model {
  readonly bars: readonly Bar[];
  readonly end: number;
  /** By lock, by begin. */
  readonly #holds: Bar[][];
  readonly #waits: Bar[][];
  /** By bar: how many later requests were granted before it. */
  readonly overtaken: Int32Array;

  constructor(readonly data: TraceData) {
    const bars = data.rows.map(([process, lock, kind, shared, begin, end, outcome], id) => {
      return { id, process, lock, kind, shared: shared === 1, begin, end, outcome };
    });
    this.bars = bars;
    this.end = bars.reduce((last, { end }) => Math.max(last, end), 1);
    const byLock = (kind: number): Bar[][] => {
      const lists: Bar[][] = data.locks.map(() => []);
      for (const bar of bars) if (bar.kind === kind) lists[bar.lock]?.push(bar);
      for (const list of lists) list.sort((a, b) => a.begin - b.begin);
      return lists;
    };
    this.#holds = byLock(HOLD);
    this.#waits = byLock(WAIT);
    this.overtaken = new Int32Array(bars.length);
    for (const waits of this.#waits)
      countOvertaking(
        waits.filter(({ outcome }) => outcome === 0),
        this.overtaken,
      );
  }

  /** By total wait, the longest first. */
  locks(): LockSummary[] {
    const summaries = this.data.locks.map((_, lock) => this.#summary(lock));
    return summaries.sort((a, b) => b.totalWait - a.totalWait || b.totalHold - a.totalHold);
  }

  #summary(lock: number): LockSummary {
    const [all, holds] = [this.#waits[lock] ?? [], this.#holds[lock] ?? []];
    const waits = all.filter(({ outcome }) => outcome !== GAVE_UP);
    const [waited, held] = [waits, holds].map((bars) =>
      bars.map(({ begin, end }) => end - begin).sort((a, b) => a - b),
    ) as [number[], number[]];
    return {
      lock,
      processes: new Set([...all, ...holds].map(({ process }) => process)).size,
      waits: waits.length,
      totalWait: sum(waited),
      medianWait: quantile(waited, 0.5),
      p95Wait: quantile(waited, 0.95),
      longestWait: waited.at(-1) ?? 0,
      holds: holds.length,
      totalHold: sum(held),
      medianHold: quantile(held, 0.5),
      longestHold: held.at(-1) ?? 0,
      gaveUp: all.length - waits.length,
      overtaken: waits.reduce((most, { id }) => Math.max(most, this.overtaken[id] ?? 0), 0),
    };
  }

  longestWaits(most: number): Bar[] {
    const waits = this.bars.filter(({ kind }) => kind === WAIT);
    return waits.sort((a, b) => b.end - b.begin - (a.end - a.begin)).slice(0, most);
  }

  /** The holds that a wait lay beside, by begin: those that it was for. */
  waitedFor(wait: Bar): Bar[] {
    return (this.#holds[wait.lock] ?? []).filter(
      (hold) => hold.begin < wait.end && hold.end > wait.begin && !(wait.shared && hold.shared),
    );
  }

  /** How long each process waited for each other one, per lock; the longest first. */
  blocking(most: number): Blocking[] {
    const found: Blocking[] = [];
    for (let lock = 0; lock < this.data.locks.length; lock++) {
      const times = new Map<string, Blocking>();
      const active = { waits: new Set<Bar>(), holds: new Set<Bar>() };
      let last = 0;
      for (const { at, bar, begins } of edges([...(this.#waits[lock] ?? []), ...(this.#holds[lock] ?? [])])) {
        for (const hold of active.holds) {
          for (const wait of active.waits) {
            if ((wait.shared && hold.shared) || at === last) continue;
            const key = `${wait.process} ${hold.process}`;
            const entry = times.get(key) ?? { waiter: wait.process, holder: hold.process, lock, time: 0 };
            entry.time += at - last;
            times.set(key, entry);
          }
        }
        last = at;
        const set = bar.kind === WAIT ? active.waits : active.holds;
        if (begins) set.add(bar);
        else set.delete(bar);
      }
      found.push(...times.values());
    }
    return found.sort((a, b) => b.time - a.time).slice(0, most);
  }

  /** How many waited, as steps: from `times[i]` on it was `counts[i]`. */
  depth(isShown: (bar: Bar) => boolean): Steps {
    const [times, counts] = [[0], [0]];
    let count = 0;
    for (const { at, begins } of edges(this.bars.filter((bar) => bar.kind === WAIT && isShown(bar)))) {
      count += begins ? 1 : -1;
      if (times.at(-1) !== at) times.push(at);
      counts[times.length - 1] = count;
    }
    times.push(Math.max(this.end, times.at(-1) ?? 0));
    counts.push(count);
    return { times, counts };
  }

  /** The steps within a range, at most about so many: of those that fall together the highest is kept. */
  static thinned({ times, counts }: Steps, { from, to }: { from: number; to: number }, most: number): Steps {
    const kept: Steps = { times: [], counts: [] };
    const width = (to - from) / most;
    let slot = -1;
    for (let i = Math.max(0, firstIndex(times, (time) => time > from) - 1); i < times.length; i++) {
      const [time, count] = [Math.max(from, times[i] as number), counts[i] as number];
      const last = kept.times.length - 1;
      const now = Math.floor((time - from) / width);
      if (now === slot) kept.counts[last] = Math.max(kept.counts[last] as number, count);
      else {
        kept.times.push(Math.min(time, to));
        kept.counts.push(count);
      }
      slot = now;
      if (time >= to) break;
    }
    return kept;
  }

  /** As many rows for a process as it has waits and holds at once, so that none hides another: the bars of each, by begin. */
  rowsOf(bars: readonly Bar[], most: number): Bar[][] {
    const rows: Bar[][] = [];
    for (const bar of [...bars].sort((a, b) => a.begin - b.begin)) {
      const free = rows.find((row) => (row.at(-1) as Bar).end <= bar.begin);
      if (free !== undefined) free.push(bar);
      else if (rows.length < most) rows.push([bar]);
      else rows.at(-1)?.push(bar);
    }
    return rows;
  }

  describe(bar: Bar): string {
    const what = `${this.nameOf(bar.process)} ${bar.kind === HOLD ? 'held' : 'waited for'} ${this.data.locks[bar.lock]}`;
    return `${what}${bar.shared ? ', shared' : ''}: ${duration(bar.end - bar.begin)}, from ${duration(bar.begin)} on`;
  }

  nameOf(process: number): string {
    return this.data.processes[process]?.name ?? '?';
  }
}

export interface Steps {
  times: number[];
  counts: number[];
}

/** The first index of which it is true: from there on it is true of all. The length of the list: of none. */
export function firstIndex<T>(list: readonly T[], isSo: (one: T) => boolean): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isSo(list[middle] as T)) high = middle;
    else low = middle + 1;
  }
  return low;
}

interface Edge {
  at: number;
  bar: Bar;
  begins: boolean;
}

/** Ends before begins of the same moment; what took no time is left out. */
function edges(bars: readonly Bar[]): Edge[] {
  const all = bars
    .filter(({ begin, end }) => end > begin)
    .flatMap((bar): Edge[] => [
      { at: bar.begin, bar, begins: true },
      { at: bar.end, bar, begins: false },
    ]);
  return all.sort((a, b) => a.at - b.at || Number(a.begins) - Number(b.begins));
}

/** Of each wait, how many that began later ended earlier: counted in a Fenwick tree, from the last begin to the first. */
function countOvertaking(waits: readonly Bar[], overtaken: Int32Array): void {
  const ranks = new Map([...waits].sort((a, b) => a.end - b.end).map(({ id }, rank) => [id, rank + 1]));
  const tree = new Int32Array(waits.length + 1);
  for (const { id } of [...waits].reverse()) {
    const rank = ranks.get(id) as number;
    let earlier = 0;
    for (let i = rank - 1; i > 0; i -= i & -i) earlier += tree[i] as number;
    overtaken[id] = earlier;
    for (let i = rank; i < tree.length; i += i & -i) tree[i] = (tree[i] as number) + 1;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

/** Of sorted numbers. */
function quantile(sorted: readonly number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
}

/** Three digits at least, in the unit that suits. */
export function duration(ms: number): string {
  if (ms === 0) return '0';
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 1000) return `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(2)} s`;
  return `${(ms / 60_000).toFixed(1)} min`;
}

/** The first bar that does not end before the time: none of a row lies over another. */
export function firstAfter(bars: readonly Bar[], time: number): number {
  return firstIndex(bars, ({ end }) => end >= time);
}

/** Shorter names of the locks, by which they still differ. */
export function withoutCommonFolder(paths: readonly string[]): string[] {
  const [first = ''] = paths;
  let folder = first.slice(0, first.lastIndexOf('/') + 1);
  while (!paths.every((path) => path.startsWith(folder)))
    folder = folder.slice(0, folder.lastIndexOf('/', folder.length - 2) + 1);
  return paths.map((path) => path.slice(folder.length));
}

/** What the page of a trace is reckoned from, against counts that take their time. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Bar, duration, HOLD, Model, type Row, type TraceData, WAIT } from '../../../src/cli/trace-view/model.js';
import { traceEvents } from '../../../src/cli/trace-view/trace-event-format.js';
import { rounds } from '../../support/scale.js';

function trace(rows: Row[]): TraceData {
  const most = (column: 0 | 1): number => rows.reduce((last, row) => Math.max(last, row[column]), 0);
  return {
    title: 't',
    note: 'n',
    processes: Array.from({ length: most(0) + 1 }, (_, i) => ({ name: `p${i}`, command: 'node x.js' })),
    locks: Array.from({ length: most(1) + 1 }, (_, i) => `/l${i}`),
    rows,
  };
}

/** On whole numbers, so that sums are exact. */
const row = fc
  .record({
    process: fc.nat(4),
    lock: fc.nat(2),
    kind: fc.nat(1),
    shared: fc.nat(1),
    begin: fc.nat(40),
    length: fc.nat(20),
  })
  .chain(({ process, lock, kind, shared, begin, length }) =>
    fc.constantFrom<Row>(
      ...[0, 1].map((outcome): Row => [process, lock, kind, shared, begin, begin + length, outcome]),
    ),
  );
const rowLists = fc.array(row, { minLength: 1, maxLength: 30 });
const check = (property: (model: Model) => void): void =>
  fc.assert(
    fc.property(rowLists, (rows) => property(new Model(trace(rows)))),
    { numRuns: rounds(200, 5000) },
  );

const waitsFor = (wait: Bar, hold: Bar): boolean =>
  wait.kind === WAIT && hold.kind === HOLD && wait.lock === hold.lock && !(wait.shared && hold.shared);

describe('what a trace comes to', () => {
  it('per lock: how many, how long, how many gave up', () => {
    const model = new Model(
      trace([
        [0, 0, HOLD, 0, 0, 10, 0],
        [1, 0, WAIT, 0, 2, 10, 0],
        [2, 0, WAIT, 0, 3, 5, 1],
        [1, 0, HOLD, 0, 10, 14, 0],
        [0, 1, HOLD, 1, 20, 21, 0],
      ]),
    );
    expect(
      model.locks().map(({ lock, totalWait, longestWait, gaveUp, holds, longestHold, processes }) => ({
        lock,
        totalWait,
        longestWait,
        gaveUp,
        holds,
        longestHold,
        processes,
      })),
    ).toEqual([
      { lock: 0, totalWait: 8, longestWait: 8, gaveUp: 1, holds: 2, longestHold: 10, processes: 3 },
      { lock: 1, totalWait: 0, longestWait: 0, gaveUp: 0, holds: 1, longestHold: 1, processes: 1 },
    ]);
    expect(model.longestWaits(1).map(({ process }) => process)).toEqual([1]);
  });

  it('overtaken: by each that began later and ended earlier', () => {
    check((model) => {
      const granted = model.bars.filter(({ kind, outcome }) => kind === WAIT && outcome === 0);
      for (const wait of granted) {
        const others = granted.filter(({ lock, id }) => lock === wait.lock && id !== wait.id);
        const strictly = others.filter(({ begin, end }) => begin > wait.begin && end < wait.end).length;
        const atMost = others.filter(({ begin, end }) => begin >= wait.begin && end <= wait.end).length;
        expect(model.overtaken[wait.id]).toBeGreaterThanOrEqual(strictly);
        expect(model.overtaken[wait.id]).toBeLessThanOrEqual(atMost);
      }
    });
  });

  it('which process waited for which: the time that their bars lie side by side', () => {
    check((model) => {
      for (const { waiter, holder, lock, time } of model.blocking(1000)) {
        let expected = 0;
        for (const wait of model.bars)
          for (const hold of model.bars)
            if (wait.process === waiter && hold.process === holder && wait.lock === lock && waitsFor(wait, hold))
              expected += Math.max(0, Math.min(wait.end, hold.end) - Math.max(wait.begin, hold.begin));
        expect(time).toBe(expected);
      }
    });
  });

  it('what a wait was for', () => {
    check((model) => {
      for (const wait of model.bars.filter(({ kind }) => kind === WAIT)) {
        const expected = model.bars.filter(
          (hold) => waitsFor(wait, hold) && hold.begin < wait.end && hold.end > wait.begin,
        );
        expect(new Set(model.waitedFor(wait))).toEqual(new Set(expected));
      }
    });
  });

  it('how many waited, at each moment; and its highest points are kept where it is thinned', () => {
    check((model) => {
      const depth = model.depth(() => true);
      const waits = model.bars.filter(({ kind, begin, end }) => kind === WAIT && end > begin);
      for (let time = 0.5; time < model.end; time++) {
        const at = depth.times.findLastIndex((one) => one <= time);
        expect(depth.counts[at]).toBe(waits.filter(({ begin, end }) => begin < time && end > time).length);
      }
      const thinned = Model.thinned(depth, { from: 0, to: model.end }, 5);
      expect(thinned.times.length).toBeLessThanOrEqual(7);
      expect(Math.max(...thinned.counts)).toBe(Math.max(...depth.counts));
    });
  });

  it('rows of a process, in which no bar hides another', () => {
    check((model) => {
      const rows = model.rowsOf(model.bars, Infinity);
      expect(rows.flat().length).toBe(model.bars.length);
      for (const bars of rows)
        for (const [i, bar] of bars.entries()) expect(bar.begin).toBeGreaterThanOrEqual(bars[i - 1]?.end ?? 0);
      expect(model.rowsOf(model.bars, 2).length).toBeLessThanOrEqual(2);
    });
  });

  it('trace events: in µs, a process each, a thread for each lock and kind', () => {
    const { traceEvents: events } = traceEvents(trace([[1, 0, WAIT, 1, 2, 3.5, 1]])) as { traceEvents: object[] };
    expect(events).toContainEqual({ ph: 'M', name: 'process_name', pid: 2, tid: 0, args: { name: 'p1 node x.js' } });
    expect(events).toContainEqual({ ph: 'M', name: 'thread_name', pid: 2, tid: 1, args: { name: '/l0 (waits)' } });
    expect(events).toContainEqual({
      ...{ ph: 'X', cat: 'waits', name: 'waits /l0', pid: 2, tid: 1, ts: 2000, dur: 1500 },
      args: { lock: '/l0', mode: 'shared', outcome: 'gave up' },
    });
  });

  it('times in the unit that suits', () => {
    expect([0, 0.0123, 1.26, 123.4, 1234, 180_000].map(duration)).toEqual([
      '0',
      '12 µs',
      '1.3 ms',
      '123 ms',
      '1.23 s',
      '3.0 min',
    ]);
  });
});

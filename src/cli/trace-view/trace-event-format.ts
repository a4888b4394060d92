/** The trace as Perfetto and Chrome's about:tracing read it (the "Trace Event Format", as JSON). */
import { HOLD, OUTCOMES, type TraceData } from './model.js';

/** A process has a thread for each of the locks that it uses, waits above holds. */
export function traceEvents({ title, processes, locks, rows }: TraceData): object {
  const names = processes.map(({ name, command }, pid) => ({
    ...{ ph: 'M', name: 'process_name', pid: pid + 1, tid: 0 },
    args: { name: `${name} ${command}` },
  }));
  const threads = new Map<string, object>();
  const events = rows.map(([process, lock, kind, shared, begin, end, outcome]) => {
    const [pid, tid] = [process + 1, lock * 2 + kind + 1];
    const what = kind === HOLD ? 'holds' : 'waits';
    threads.set(`${pid} ${tid}`, {
      ...{ ph: 'M', name: 'thread_name', pid, tid },
      args: { name: `${locks[lock]} (${what})` },
    });
    const args = {
      lock: locks[lock],
      mode: shared === 1 ? 'shared' : 'exclusive',
      outcome: OUTCOMES[outcome] || 'ended',
    };
    // In µs.
    return {
      ph: 'X',
      cat: what,
      name: `${what} ${locks[lock]}`,
      pid,
      tid,
      ts: begin * 1000,
      dur: (end - begin) * 1000,
      args,
    };
  });
  return { displayTimeUnit: 'ms', otherData: { title }, traceEvents: [...names, ...threads.values(), ...events] };
}

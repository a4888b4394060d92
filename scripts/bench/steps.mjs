// Where the time between two releases goes, while processes contend in strict order: by the scheduler's own events
// (perf, as root). The steps of a hand-over are told by the threads that are woken: the process that releases wakes the
// thread that waits in the next one; that thread wakes JavaScript, which works for HOLD µs and releases.
//   node scripts/bench/steps.mjs [--processes 2,4,8,16] [--warm-up 4] [--hold 100]
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { folder, here, machine, median, table } from './support.mjs';

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '2,4,8,16' },
    'warm-up': { type: 'string', default: '4' },
    hold: { type: 'string', default: '100' },
  },
});
const RECORDED_S = 0.3;

/** What the scheduler did while the processes contended, as perf prints it. */
async function record(processes) {
  const path = join(folder, `lock-${processes}`);
  const warm = Number(process.hrtime.bigint()) + (1 + processes * 0.15) * 1e9;
  const start = warm + processes * Number(values['warm-up']) * 1e9;
  const contenders = Array.from({ length: processes }, (_, i) => {
    const args = ['fairlock fifo', path, values.hold, warm, start, start + 2e9, `${path}.out-${i}`].map(String);
    return spawn(process.execPath, [here('contender.mjs'), ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  });
  const ended = contenders.map((contender) => once(contender, 'exit'));
  await pause((start - Number(process.hrtime.bigint())) / 1e6 + 1000);
  const events = ['-e', 'sched:sched_switch,sched:sched_waking'];
  execFileSync('perf', ['record', '-q', '-a', '-m', '4096', ...events, '-o', `${path}.perf`, 'sleep', RECORDED_S], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await Promise.all(ended);
  return execFileSync('perf', ['script', '-i', `${path}.perf`, '-F', 'pid,tid,time,event,trace'], {
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'ignore'],
  }).toString();
}

/** In order: which thread woke which other one, and which one a processor went over to. */
function read(text) {
  const processOf = new Map();
  const events = [];
  for (const line of text.split('\n')) {
    const match = /^\s*(\d+)\/(\d+)\s+([\d.]+):\s+sched:(\w+):\s+(.*)$/.exec(line);
    if (match === null) continue;
    const [, pid, tid, seconds, event, details] = match;
    processOf.set(tid, pid);
    const at = Number(seconds) * 1e6;
    if (event === 'sched_waking') events.push({ at, by: tid, wakes: / pid=(\d+)/.exec(details)[1] });
    else events.push({ at, enters: /next_pid=(\d+)/.exec(details)[1] });
  }
  return { events, processOf };
}

const STEPS = ['the thread begins', 'it has the lock', 'JavaScript begins', 'it releases'];

/** µs that each step took, of every hand-over of which all steps were seen. */
function steps({ events, processOf }) {
  const isMain = (tid) => processOf.get(tid) === tid;
  const taken = STEPS.map(() => []);
  /** Of the hand-over that is under way: the process, and when each step ended. */
  let current;
  for (const { at, by, wakes, enters } of events) {
    const own = wakes !== undefined && processOf.get(by) === processOf.get(wakes);
    if (wakes !== undefined && isMain(by) && !own && processOf.has(wakes) && !isMain(wakes)) {
      if (current?.ends.length === 4 && current.main === by) {
        current.ends.push(at);
        STEPS.forEach((_, i) => {
          taken[i].push(current.ends[i + 1] - current.ends[i]);
        });
      }
      current = { thread: wakes, main: processOf.get(wakes), ends: [at] };
    } else if (current === undefined) continue;
    else if (current.ends.length === 1 && enters === current.thread) current.ends.push(at);
    else if (current.ends.length === 2 && by === current.thread && wakes === current.main) current.ends.push(at);
    else if (current.ends.length === 3 && enters === current.main) current.ends.push(at);
  }
  return taken;
}

const rows = [];
for (const processes of values.processes.split(',').map(Number)) {
  const taken = steps(read(await record(processes)));
  const middle = taken.map((times) => median(times));
  const spread = taken.map((times) => times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.9)]);
  rows.push([processes, ...middle.map((time, i) => `${time.toFixed(0)} (${spread[i].toFixed(0)})`), taken[0].length]);
}
console.log(`${machine()}; µs of each step of a hand-over: median (90th percentile)`);
console.log(table(['processes', ...STEPS, 'seen'], rows));

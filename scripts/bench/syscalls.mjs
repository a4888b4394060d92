// System calls of one acquisition and release, by strace, on one of two processes that contend: a number that does not
// depend on how fast the machine is.   node scripts/bench/syscalls.mjs [--seconds 2] [--hold 100] [--processes 2]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { folder, here, machine, table } from './support.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    hold: { type: 'string', default: '100' },
    processes: { type: 'string', default: '2' },
  },
});
const STRATEGIES = ['fairlock fifo', 'fairlock kernel', 'fs-ext in the pool', 'fs-native-extensions'];
/** Calls of which one acquisition makes fewer than this are the runtime's own: garbage collection, compilation. */
const LEAST = 0.1;

/** What a call is for: the first that matches. */
const REASONS = [
  [/^flock\(.*LOCK_NB/, 'tries the lock'],
  [/^flock\(.*LOCK_UN/, 'releases the lock'],
  [/^flock\(/, 'waits for the lock'],
  [/^fcntl\(.*F_DUPFD/, 'duplicates a descriptor'],
  [/^fcntl\(.*F_OFD_SETLKW/, 'waits for its turn'],
  [/^fcntl\(.*F_OFD_GETLK/, 'looks for tickets'],
  [/^fcntl\(.*F_OFD_SETLK,.*F_WRLCK/, 'takes a ticket'],
  [/^fcntl\(.*F_OFD_SETLK,.*F_UNLCK.*l_len=0/, 'drops a ticket'],
  [/^fcntl\(.*F_OFD_SETLK,.*F_UNLCK/, 'ends the taking of a ticket'],
  [/^newfstatat\(.*-queue/, 'is it the sidecar?'],
  [/^(newfstatat|stat|statx|fstat)\(/, 'is it the lock file?'],
  [/^p(read|write)64\(/, 'the counter of tickets'],
  [/^futex\(/, 'between threads'],
  [/^rt_sigprocmask\(/, 'the mask of signals'],
  [/^(read|write)\(.*eventfd/, 'wakes the event loop'],
  [/^epoll_/, 'the event loop'],
];

async function count(strategy, run) {
  const path = join(folder, `lock-${run}`);
  const start = Number(process.hrtime.bigint()) + 3e9;
  const end = start + Number(values.seconds) * 1e9;
  const log = `${path}.strace`;
  const contenders = Array.from({ length: Number(values.processes) }, (_, i) => {
    const command = [
      process.execPath,
      here('contender.mjs'),
      strategy,
      path,
      values.hold,
      start,
      start,
      end,
      `${path}.out-${i}`,
    ];
    const traced =
      i === 0 ? ['strace', '-f', '-y', '-qq', '-s', '0', '-e', 'signal=none', '-o', log, ...command] : command;
    return spawn(traced[0], traced.slice(1).map(String), {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, FAIRLOCK_BENCH_MARKS: '1' },
    });
  });
  for (const [code] of await Promise.all(contenders.map((child) => once(child, 'exit'))))
    if (code !== 0) throw new Error(`${strategy}: exit code ${code}`);
  const acquisitions = readFileSync(`${path}.out-0`).length / 16;
  const lines = readFileSync(log, 'utf8').split('\n');
  const from = lines.findIndex((line) => line.includes('fairlock-bench-begin'));
  const to = lines.findIndex((line) => line.includes('fairlock-bench-end'));
  const calls = new Map();
  for (const line of lines.slice(from + 1, to)) {
    const call = /^\d+\s+(\w+\(.*)$/.exec(line)?.[1]; // Not the second half of one that was interrupted.
    if (call === undefined) continue;
    const reason = REASONS.find(([pattern]) => pattern.test(call))?.[1] ?? '';
    const key = `${call.slice(0, call.indexOf('('))}\t${reason}`;
    calls.set(key, (calls.get(key) ?? 0) + 1);
  }
  return new Map([...calls].map(([key, times]) => [key, times / acquisitions]));
}

console.log(`${machine()}; ${values.processes} processes, ${values.hold} µs hold`);
for (const [i, strategy] of STRATEGIES.entries()) {
  const all = [...(await count(strategy, i))].sort(([, a], [, b]) => b - a);
  const own = all.filter(([, times]) => times >= LEAST);
  const sum = (list) => list.reduce((total, [, times]) => total + times, 0);
  const rows = own.map(([key, times]) => [...key.split('\t'), times.toFixed(1)]);
  rows.push(['others', `fewer than ${LEAST} each`, sum(all.filter(([, times]) => times < LEAST)).toFixed(1)]);
  console.log(`\n${strategy}: ${sum(all).toFixed(1)} system calls per acquisition`);
  console.log(table(['call', 'reason', 'per acquisition'], rows));
}

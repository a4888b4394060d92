// The program of openstack-dev, May 2017 ("lockutils lock fairness / starvation"): 4 workers with 4 jobs each want one
// lock, and each asks again as soon as it has released. With an unfair lock worker 0 does all its jobs first.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as work } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { FifoMutex, InterProcessLock, layers } from 'fairlock';
import { BargingMutex } from './barging-mutex.mjs';

const WORKERS = 4;
const JOBS = 4;
const folder = mkdtempSync(join(tmpdir(), 'fairlock-demo-'));

/** The workers of one process; a job is real waiting, and between two jobs a worker never yields. */
async function inOneProcess(mutex) {
  const served = [];
  const worker = async (index) => {
    for (let job = 1; job <= JOBS; job++) {
      const handle = await mutex.acquire();
      await work(2);
      console.log(`worker=${index}: ${job}`);
      served.push(index);
      (handle ?? mutex).release();
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, index) => worker(index)));
  return served;
}

/**
 * The workers are processes. All ask, in the order of their numbers, while the lock is held here; then it is released.
 */
async function inProcesses(fairness) {
  const [lockPath, counter, log] = ['lock', 'counter', 'log'].map((name) => join(folder, `${fairness}-${name}`));
  writeFileSync(counter, '0');
  writeFileSync(log, '');
  const children = await Promise.all(
    Array.from({ length: WORKERS }, async (_, index) => {
      const task = { index, jobs: JOBS, lockPath, counter, log, options: { fairness } };
      const child = fork(fileURLToPath(new URL('./worker.mjs', import.meta.url)), [JSON.stringify(task)]);
      await once(child, 'message');
      return child;
    }),
  );
  let done = 0;
  const progress = ({ index, job }) => {
    done++;
    if (process.stdout.isTTY)
      process.stdout.write(`\r\x1b[K${done} of ${WORKERS * JOBS} jobs, last worker=${index}: ${job}`);
  };
  const ended = children.map((child) => once(child.on('message', progress), 'exit'));
  const lock = new InterProcessLock(lockPath, { fairness });
  const handle = await lock.acquire();
  const canBeSeen = lock.inspect().layers.wait !== 'poll';
  for (const [i, child] of children.entries()) {
    child.send('go');
    while (canBeSeen && lock.inspect().waiters.length <= i) await new Promise((resolve) => setImmediate(resolve));
  }
  handle.release();
  await Promise.all(ended);
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  const lines = readFileSync(log, 'utf8');
  process.stdout.write(lines);
  return {
    served: [...lines.matchAll(/worker=(\d+)/g)].map(([, index]) => Number(index)),
    counter: Number(readFileSync(counter, 'utf8')),
  };
}

function jobsPerWorker(served) {
  return Array.from({ length: WORKERS }, (_, index) => served.filter((one) => one === index).length);
}

function longestRun(served) {
  let longest = 0;
  let run = 0;
  served.forEach((index, i) => {
    run = index === served[i - 1] ? run + 1 : 1;
    longest = Math.max(longest, run);
  });
  return longest;
}

function isRoundRobin(served) {
  return served.every((index, i) => index === i % WORKERS);
}

try {
  console.log(`\nAn unfair mutex, ${WORKERS} workers in one process:`);
  const unfair = await inOneProcess(new BargingMutex());
  console.log(`\nfairlock, ${WORKERS} workers in one process:`);
  const fair = await inOneProcess(new FifoMutex());
  console.log(`\nfairlock, ${WORKERS} processes with one lock file and one counter file, in the kernel's order:`);
  const processes = await inProcesses('kernel');
  const { fairness } = new InterProcessLock(join(folder, 'probe'), { fairness: 'auto' }).inspect();
  if (fairness === 'fifo') console.log("\nfairlock, the same with fairness: 'fifo':");
  const strict = fairness === 'fifo' ? await inProcesses('fifo') : undefined;

  const expected = WORKERS * JOBS;
  const table = new Table({
    head: ['', 'jobs per worker', 'longest run of one', 'counter'],
    style: { head: [], border: [] },
  });
  const row = (name, { served, counter }) => [
    name,
    jobsPerWorker(served).join(' '),
    longestRun(served),
    counter === undefined ? '-' : `${counter} of ${expected}`,
  ];
  table.push(row('unfair mutex', { served: unfair }), row('fairlock, one process', { served: fair }));
  table.push(row(`fairlock, ${WORKERS} processes`, processes));
  if (strict !== undefined) table.push(row(`fairlock, ${WORKERS} processes, fifo`, strict));
  console.log(`\n${table}`);

  const promises = [
    ['within a process: strict round robin', isRoundRobin(fair)],
    ['between processes: every increment counted', processes.counter === expected],
    ['every worker did all its jobs', jobsPerWorker(processes.served).every((count) => count === JOBS)],
  ];
  if (strict !== undefined) {
    promises.push([
      'between processes with fifo: strict round robin, every increment counted',
      isRoundRobin(strict.served) && strict.counter === expected,
    ]);
  }
  for (const [promise, kept] of promises) console.log(`${kept ? 'ok    ' : 'BROKEN'} ${promise}`);
  if (strict === undefined) {
    const { reason } = layers()['native-fallback'];
    const run = longestRun(processes.served);
    console.log(`-      between processes no order is promised here: one worker did ${run} jobs in a row`);
    console.log(
      `       (strict order needs Linux and the addon${reason === undefined ? '' : `: ${reason.split(';')[0]}`})`,
    );
  }
  process.exitCode = promises.every(([, kept]) => kept) ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

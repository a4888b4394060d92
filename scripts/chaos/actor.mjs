// A process of the chaos, or a Worker of one: requests at random until it is told to stop; then all must be as before.
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads';
import { codeOf, randomOf, request } from './drive.mjs';
import { recorder } from './history.mjs';
import { RESOURCES, subjectOf } from './subjects.mjs';

const {
  folder,
  logs,
  seed,
  names,
  clock = 0,
  few = false,
  pauses = 0,
} = isMainThread ? JSON.parse(process.argv[2]) : workerData;
const client = `${process.pid}.${threadId}.${seed}`;
const record = recorder(logs, client);
const random = randomOf(seed);
const EXPECTED = new Set(['ERR_LOCK_TIMEOUT', 'TimeoutError', 'ERR_LOCK_DEADLOCK', 'ENOSPC']);
/** Where there are few descriptors. */
const WHEN_FEW = new Set(['EMFILE', 'ENFILE', 'EAGAIN']);

if (clock !== 0) {
  // Only the lockfile goes by the time of day; a clock that is somewhat off must not matter.
  const { now } = Date;
  Date.now = () => now() + clock;
}

let going = true;
let stop;
const stopped = new Promise((resolve) => {
  stop = () => {
    going = false;
    resolve();
  };
});
const orphaned = () => process.exit(1);
if (isMainThread) process.on('message', stop).on('disconnect', orphaned);
else parentPort.once('message', stop);

async function loop(subjects) {
  while (going) {
    if (pauses > 0) await pause(random() * pauses);
    const subject = subjects[Math.floor(random() * subjects.length)];
    if (RESOURCES[subject.name].rare && random() < 0.9) continue;
    const error = await request(subject, { client, record, random });
    const code = error === undefined ? undefined : codeOf(error);
    if (few && WHEN_FEW.has(code)) await pause(1);
    else if (error !== undefined && !EXPECTED.has(code)) throw error;
    // The process goes with what it holds in the other loops.
    if (isMainThread && random() < 0.0003) {
      record({ what: 'ends', process: process.pid });
      process.exit(0);
    }
  }
}

/** One Worker after the other, each terminated in the midst of its work. */
async function workers() {
  for (let n = 1; going; n++) {
    const data = { folder, logs, seed: seed * 1000 + n, names, pauses };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    const name = `${process.pid}.${worker.threadId}.${data.seed}`;
    worker.on('error', (error) => {
      throw error;
    });
    await Promise.race([pause(random() * (3000 + 100 * pauses)), stopped]);
    if (going) {
      record({ what: 'ends', client: name });
      await worker.terminate();
    } else {
      worker.postMessage('stop');
      await ended;
    }
  }
}

function linkOf(fd) {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, 'N');
  } catch {
    return 'the list itself';
  }
}

/**
 * Without the sources that Node's loader was reading in a Worker when that was terminated: those it leaves open itself.
 */
function state() {
  const listeners = ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit', 'warning'].map((name) => process.listenerCount(name));
  const descriptors = readdirSync('/proc/self/fd').map(linkOf).sort();
  return {
    descriptors: descriptors.filter((link) => !/\.m?js$/.test(link)),
    threads: readdirSync('/proc/self/task').length,
    listeners: listeners.join(),
  };
}

/**
 * Not at the module's top level: a thread that is terminated just where a module with a top-level await begins ends the
 * whole process (V8's "Check failed: (location_) != nullptr" in ExecuteAsyncModule; Node's issue 62114).
 */
async function main() {
  const subjects = names.map((name) => subjectOf(name, folder, logs));
  // All is loaded and opened once before it is counted.
  for (const subject of subjects) await request(subject, { client, record, random });
  const before = state();
  const more = (after) => after.descriptors.length > before.descriptors.length || after.threads > before.threads;
  const tasks = Array.from({ length: 3 }, () => loop(subjects));
  if (isMainThread && !few) tasks.push(workers());
  await Promise.all(tasks);
  for (const subject of subjects) subject.close();
  if (isMainThread) {
    // Idle descriptors are closed after a moment, threads after two seconds.
    let after = state();
    for (let tries = 0; tries < 150 && more(after); tries++) {
      await pause(50);
      after = state();
    }
    if (more(after) || after.listeners !== before.listeners)
      throw new Error(`left: ${JSON.stringify({ before, after }, undefined, 1)}`);
    process.off('disconnect', orphaned).disconnect();
  }
}

main();

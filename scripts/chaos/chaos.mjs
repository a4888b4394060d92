// npm run chaos [-- --seconds 60 --seed 1 --report FILE --calm]
// Processes, Worker threads, Python and flock(1) compete for locks of every kind while they are killed, stopped,
// terminated, aborted and timed out at random, lock files are removed and replaced, the disk is full and descriptors
// run out. Then the history that all of them wrote is checked. Exit code 0 if every promise was kept. With --calm there
// are fewer of them, and pauses, which leave the processors to others.
import { fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { randomOf } from './drive.mjs';
import { check, now, readHistory, recorder } from './history.mjs';
import { gapIn, pathOf, RESOURCES } from './subjects.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    calm: { type: 'boolean', default: false },
    report: { type: 'string' },
    quiet: { type: 'boolean', default: false },
  },
});
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const seconds = Number(values.seconds);
const seed = Number(values.seed);
const random = randomOf(seed);
const CALM_MS = 300;
const base = mkdtempSync(join(tmpdir(), 'fairlock-chaos-'));
const [folder, logs] = [join(base, 'locks'), join(base, 'logs')];
for (const one of [folder, logs]) mkdirSync(one);
// A small file system that can be filled up; without the right to mount one, the disk is never full.
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]).status === 0;
const record = recorder(logs, 'chaos');
const names = Object.keys(RESOURCES);
const done = { killed: 0, stopped: 0, 'files removed': 0, 'files replaced': 0, 'disk full': 0, started: 0 };
const crashes = [];
const processes = new Map();
let ending = false;
let next = 0;

function watch(child, what, again) {
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  child.on('error', () => {}); // told to stop at the moment of its death
  processes.set(child.pid, { child, what });
  done.started++;
  child.once('exit', (code, signal) => {
    processes.delete(child.pid);
    record({ what: 'ends', process: child.pid });
    if (code !== 0 && signal !== 'SIGKILL')
      crashes.push(`${what}: ${stderr.slice(-1500) || `exit code ${code}, ${signal}`}`);
    if (!ending) again();
  });
}

/** Four ordinary processes, one whose clock is off, one that has few descriptors. */
function startActor(number) {
  const few = number === 5;
  // A semaphore needs a descriptor for each permit it waits for: with few of them it can only fail.
  const some = few ? names.filter((name) => RESOURCES[name].permits === undefined && !RESOURCES[name].tokens) : names;
  const settings = {
    folder,
    logs,
    seed: seed * 100 + ++next,
    names: some,
    few,
    pauses: values.calm ? CALM_MS : 0,
    clock: number === 4 ? Math.floor(random() * 800) - 400 : 0,
  };
  const options = { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] };
  if (few) Object.assign(options, { execPath: here('few-descriptors.sh'), execArgv: [process.execPath] });
  watch(fork(here('actor.mjs'), [JSON.stringify(settings)], options), few ? 'few' : 'actor', () => startActor(number));
}

function startClient(name, kind) {
  const pauses = String((values.calm ? 10 * CALM_MS : 5) / 1000);
  const args = [here('client.py'), logs, name, pathOf(name, folder), kind, String(++next), pauses];
  watch(spawn('python3', args, { stdio: ['pipe', 'ignore', 'pipe'] }), kind, () => startClient(name, kind));
}

async function disturb() {
  const dice = random();
  const all = [...processes.values()];
  const { child, what } = all[Math.floor(random() * all.length)] ?? {};
  if (child === undefined) return;
  // flock(1)'s own child would hold on; so its starter is left alone.
  if (dice < 0.25 && what !== 'flock(1)') {
    record({ what: 'ends', process: child.pid });
    child.kill('SIGKILL');
    done.killed++;
  } else if (dice < 0.7) {
    child.kill('SIGSTOP');
    await pause(random() * 30);
    child.kill('SIGCONT');
    done.stopped++;
  } else if (dice < 0.9) {
    const removed = names.filter((name) => RESOURCES[name].removed);
    const name = removed[Math.floor(random() * removed.length)];
    const since = now();
    if (takeAway(pathOf(name, folder), random() < 0.5)) record({ what: 'taken', resource: name, since });
  } else if (mounted) {
    spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'filler')}`, 'bs=64k'], { stdio: 'ignore' });
    await pause(random() * 50);
    rmSync(join(folder, 'filler'), { force: true });
    done['disk full']++;
  }
}

function takeAway(path, replace) {
  try {
    if (replace) {
      writeFileSync(`${path}.stranger`, '');
      renameSync(`${path}.stranger`, path);
    } else {
      rmSync(path);
    }
    done[replace ? 'files replaced' : 'files removed']++;
    return true;
  } catch {
    rmSync(`${path}.stranger`, { force: true });
    return false; // It was not there, or the disk is full.
  }
}

for (let number = values.calm ? 3 : 0; number < 6; number++) startActor(number);
for (const [name, { clients = [] }] of Object.entries(RESOURCES)) for (const kind of clients) startClient(name, kind);
const start = performance.now();
for (let told = 0; performance.now() - start < seconds * 1000 && crashes.length === 0; ) {
  await pause(random() * (values.calm ? 4 * CALM_MS : 40));
  await disturb();
  const passed = Math.floor((performance.now() - start) / 1000);
  if (values.quiet || passed < told + 5) continue;
  told = passed;
  console.log(
    `${passed} of ${seconds} s, seed ${seed}: ${Object.entries(done)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}`,
  );
}

// All that still wait must be served, and every process must end by itself.
ending = true;
const ended = Promise.all([...processes.values()].map(({ child }) => once(child, 'exit')));
for (const { child } of processes.values()) {
  child.kill('SIGCONT');
  if (child.connected) child.send('stop', () => {});
  else child.stdin?.end();
}
if ((await Promise.race([ended, pause(60_000, 'late')])) === 'late') {
  for (const { child, what } of processes.values()) {
    crashes.push(`stranded: ${what} ${child.pid} did not end within a minute`);
    child.kill('SIGKILL');
  }
}

const events = readHistory(logs);
const { violations, figures } = check(events, RESOURCES);
for (const [name, { removed }] of Object.entries(RESOURCES)) {
  const gap = removed ? undefined : gapIn(`${pathOf(name, logs)}.journal`);
  if (gap !== undefined) violations.push(`${name}: the journal does not go on at ${gap}`);
}
// What a process that was killed has left is taken away by the next one that needs its place; nothing else may be
// there.
const LEFT = /^(\..+\.fairlock-(queue|leader|leader\.[0-9a-f]{16}\.new|steal-.+)|lockfile\.lock(\.takeover-.+)?)$/;
const known = new Set(names.map((name) => basename(pathOf(name, folder))));
for (const name of readdirSync(folder))
  if (!known.has(name) && !LEFT.test(name)) violations.push(`a file of no known kind is left: ${name}`);
if (mounted) spawnSync('umount', ['-l', folder]);
rmSync(base, { recursive: true, force: true });

const total = Object.values(figures).reduce((sum, { grants }) => sum + grants, 0);
const everyOne = Object.values(figures).every(({ grants }) => grants > 0);
if (!everyOne) violations.push('of some kind of lock there was no grant at all');
const problems = [...crashes, ...violations];
const table = new Table({ head: ['', ...Object.keys(Object.values(figures)[0])], style: { head: [], border: [] } });
for (const [name, row] of Object.entries(figures)) table.push([name, ...Object.values(row)]);
const report = [
  `Chaos: ${seconds} s, seed ${seed}, on ${cpus()[0]?.model}, ${availableParallelism()} processors, Linux ` +
    `${release()}, Node ${process.version}`,
  `${events.length} events, ${total} grants; ${Object.entries(done)
    .map(([what, n]) => `${n} ${what}`)
    .join(', ')}`,
  table.toString(),
  'explained: overlaps after a stranger had removed or replaced the lock file',
  ...problems.slice(0, 30).map((text) => `! ${text}`),
  problems.length === 0 ? 'ok: no promise was broken' : `FAILED: ${problems.length} problems`,
].join('\n');
if (!values.quiet || problems.length > 0) console.log(report);
if (values.report !== undefined) writeFileSync(values.report, `${report}\n`);
process.exit(problems.length === 0 ? 0 : 1);

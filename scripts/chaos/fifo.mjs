// Chaos for fairness: 'fifo': processes that queue are killed, stopped, aborted and timed out at random. Then the log
// that the holders wrote is checked: never two holders, nobody overtaken, nobody stranded. Exit code 0 if all holds.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    processes: { type: 'string', default: '8' },
    quiet: { type: 'boolean', default: false },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'fairlock-chaos-'));
const log = join(folder, 'log');
writeFileSync(log, '');
const worker = fileURLToPath(new URL('./fifo-worker.mjs', import.meta.url));
const crashes = [];
const children = new Set();
const counts = { killed: 0, stopped: 0 };

function start() {
  const child = fork(worker, [folder], { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  child.on('error', () => {}); // told to stop at the moment of its death
  child.once('exit', (code, signal) => {
    children.delete(child);
    if (code !== 0 && signal !== 'SIGKILL') crashes.push(stderr || `exit code ${code}, ${signal}`);
  });
  children.add(child);
}

function anyChild() {
  return [...children][Math.floor(Math.random() * children.size)];
}

for (let i = 0; i < Number(values.processes); i++) start();
const end = performance.now() + Number(values.seconds) * 1000;
while (performance.now() < end && crashes.length === 0) {
  await pause(Math.random() * 40);
  const child = anyChild();
  if (child === undefined) break;
  if (Math.random() < 0.3) {
    counts.killed++;
    child.kill('SIGKILL');
    await once(child, 'exit');
    start();
  } else {
    counts.stopped++;
    child.kill('SIGSTOP');
    await pause(Math.random() * 30);
    child.kill('SIGCONT');
  }
}
// Whoever still waits must be served, and end by itself: a stranded one would keep this program from ending.
const ended = [...children].map((child) => once(child, 'exit'));
for (const child of children) child.send('stop', () => {});
await Promise.all(ended);

const grants = readFileSync(log, 'utf8')
  .trim()
  .split('\n')
  .map((line) => line.split(' ').map(Number))
  .map(([pid, asked, drawn]) => ({ pid, asked, drawn }));
// From the end: who is served later, but had drawn a ticket before this one even asked?
let outOfOrder = 0;
let earliestDrawn = Infinity;
for (const { asked, drawn } of grants.reverse()) {
  if (earliestDrawn < asked) outOfOrder++;
  earliestDrawn = Math.min(earliestDrawn, drawn);
}
rmSync(folder, { recursive: true, force: true });

const ok = crashes.length === 0 && outOfOrder === 0 && grants.length > 100;
if (!values.quiet || !ok) {
  console.log(`${grants.length} grants, ${counts.killed} kills, ${counts.stopped} stops; out of order: ${outOfOrder}`);
  for (const crash of crashes) console.log(crash);
  console.log(ok ? 'ok' : 'FAILED');
}
process.exit(ok ? 0 : 1);

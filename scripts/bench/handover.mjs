// kill -9 of the holder to the grant next door, and abort to its rejection. proper-lockfile waits until the lock is
// stale (10 s by default), so it is measured with the shortest staleness it allows, 2 s.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { InterProcessLock } from 'fairlock';
import { folder, here, machine, median, table } from './support.mjs';

const now = () => Number(process.hrtime.bigint());

const rows = [];
for (const [name, options, rounds] of [
  ['kernel', {}, 50],
  ['fifo', { fairness: 'fifo' }, 50],
  ['lockfile, stale: 2000', { mechanism: 'lockfile', stale: 2000 }, 2],
]) {
  const path = join(folder, name.replace(/\W/g, ''));
  const times = [];
  for (let i = 0; i < rounds; i++) {
    const holder = fork(here('holder.mjs'), [path, JSON.stringify(options)]);
    await once(holder, 'message');
    const lock = new InterProcessLock(path, options);
    const waiting = lock.acquire().then((handle) => ({ handle, at: now() }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const killed = now();
    holder.kill('SIGKILL');
    const { handle, at } = await waiting;
    times.push((at - killed) / 1e6);
    handle.release();
  }
  rows.push([`kill -9 to grant, ${name}`, median(times).toFixed(2), Math.max(...times).toFixed(2)]);
}
const path = join(folder, 'abort');
const holder = fork(here('holder.mjs'), [path, '{}']);
await once(holder, 'message');
const times = [];
for (let i = 0; i < 200; i++) {
  const controller = new AbortController();
  const waiting = new InterProcessLock(path).acquire({ signal: controller.signal }).catch(() => now());
  await new Promise((resolve) => setTimeout(resolve, 2));
  const aborted = now();
  controller.abort();
  times.push(((await waiting) - aborted) / 1e6);
}
holder.kill();
rows.push(['abort to rejection', median(times).toFixed(2), Math.max(...times).toFixed(2)]);
console.log(machine());
console.log(table(['', 'median ms', 'maximum ms'], rows));

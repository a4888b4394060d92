// 8 candidates in processes of their own; the leader is killed with SIGKILL 50 times: how long until the next one
// leads? With its token on the disk, that is: the term is told of when `run` calls its function.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { folder, here, machine, median, table } from './support.mjs';

const rows = [];
for (const fairness of ['kernel', 'fifo']) {
  const path = join(folder, `leader-${fairness}`);
  const candidates = new Set();
  let onElected;
  const stand = () => {
    const child = fork(here('candidate.mjs'), [path, fairness]);
    candidates.add(child);
    return new Promise((resolve) => {
      child.on('message', (at) => (at === 'standing' ? resolve() : onElected(child, BigInt(at))));
    });
  };
  let elected = new Promise((resolve) => {
    onElected = (child, at) => resolve({ child, at });
  });
  for (let i = 0; i < 8; i++) await stand();
  const times = [];
  for (let kills = 0; kills < 50; kills++) {
    const { child } = await elected;
    elected = new Promise((resolve) => {
      onElected = (next, at) => resolve({ child: next, at });
    });
    const killed = process.hrtime.bigint();
    child.kill('SIGKILL');
    const { at } = await elected;
    times.push(Number(at - killed) / 1e6);
    candidates.delete(child);
    await stand();
  }
  for (const child of candidates) child.kill('SIGKILL');
  rows.push([`leader killed to next term, ${fairness}`, median(times).toFixed(2), Math.max(...times).toFixed(2)]);
}
console.log(machine());
console.log(table(['8 candidates, 50 kills', 'median ms', 'maximum ms'], rows));

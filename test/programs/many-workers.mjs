// `count` Workers at once, each of which takes the lock `times` times; and the main thread as often, if it is to.
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { InterProcessLock } from 'fairlock';

const { path, counter, options, count, times, rounds, mainToo } = JSON.parse(process.argv[2]);
const lock = new InterProcessLock(path, options);
const problems = [];
for (let round = 0; round < rounds; round++) {
  const ended = Array.from({ length: count }, () => {
    const workerData = { path, counter, times, options };
    const worker = new Worker(new URL('worker-locker.mjs', import.meta.url), { execArgv: [], workerData });
    worker.on('message', (message) => problems.push(message));
    return once(worker, 'exit');
  });
  for (let turn = 0; mainToo && turn < times; turn++) {
    await lock.withLock(() => writeFileSync(counter, String(Number(readFileSync(counter, 'utf8')) + 1)));
  }
  await Promise.all(ended);
}
const codes = [...new Set(problems.map(({ code }) => code))];
console.log(JSON.stringify({ counter: readFileSync(counter, 'utf8'), problems: codes }));

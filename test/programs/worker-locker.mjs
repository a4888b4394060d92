// A Worker that takes the lock a number of times, with an increment under it, and ends.
import { readFileSync, writeFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { InterProcessLock } from 'fairlock';

const { path, counter, times, options, hold } = workerData;
try {
  const lock = new InterProcessLock(path, options);
  for (let turn = 0; turn < times; turn++) {
    await lock.withLock(() => writeFileSync(counter, String(Number(readFileSync(counter, 'utf8')) + 1)));
  }
  if (hold) {
    await lock.acquire();
    parentPort.postMessage('holding');
    setInterval(() => {}, 1000);
  }
} catch ({ code, message }) {
  parentPort.postMessage({ code, message });
}

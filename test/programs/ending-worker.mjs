// A Worker that is terminated while it holds a lock.
import { spawnSync } from 'node:child_process';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { InterProcessLock } from '../../dist/index.js';

if (isMainThread) {
  const [file] = process.argv.slice(2);
  const isFree = () => spawnSync('flock', ['-n', file, 'true']).status === 0;
  const worker = new Worker(new URL(import.meta.url), { workerData: file });
  await new Promise((resolve) => worker.once('message', resolve));
  if (!isFree()) console.log('held by the Worker');
  await worker.terminate();
  for (let tries = 0; tries < 500 && !isFree(); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
  console.log(isFree() ? 'free after it' : 'held for ever');
  process.exit();
} else {
  globalThis.handle = await new InterProcessLock(workerData).acquire();
  parentPort.postMessage('held');
  setInterval(() => {}, 1000);
}

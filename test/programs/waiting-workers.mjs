// Workers that are terminated while they wait for a lock that another process holds, time and again; or while one holds.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { InterProcessLock } from 'fairlock';

if (isMainThread) {
  const [path, kind, times] = process.argv.slice(2);
  const start = async () => {
    const worker = new Worker(new URL(import.meta.url), { execArgv: [], workerData: { path, kind } });
    await once(worker, 'message');
    return worker;
  };
  if (kind === 'holds') {
    const worker = await start();
    await once(worker, 'message');
    await worker.terminate();
    (await new InterProcessLock(path).acquire()).release();
    console.log('free');
  } else {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    await (await start()).terminate();
    const before = descriptors();
    for (let i = 0; i < Number(times); i++) {
      const worker = await start();
      if (i % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      await worker.terminate();
    }
    console.log(descriptors() <= before + 1 ? 'none left' : descriptors() - before);
  }
} else {
  const lock = new InterProcessLock(workerData.path);
  parentPort.postMessage('loaded');
  globalThis.handle = workerData.kind === 'sync' ? lock.acquireSync() : await lock.acquire();
  parentPort.postMessage('holding');
  setInterval(() => {}, 1000);
}

// Uses what of the addon asks for memory, once each; errors are expected, the end of the process by a signal is not.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { InterProcessLock, InterProcessSemaphore } from 'fairlock';
import { LockManager } from 'fairlock/web-locks';
import { heldElsewhere } from './held-elsewhere.mjs';

const folder = process.argv[2];
const quietly = async (step) => {
  try {
    await step();
  } catch {
    // ENOMEM, in whatever words.
  }
};

for (const fairness of ['kernel', 'fifo']) {
  const file = `${folder}/${fairness}`;
  const letGo = await heldElsewhere(file);
  await quietly(async () => {
    const lock = new InterProcessLock(file, { fairness });
    // Granted where locks fall back to a folder, which flock(1) does not look at.
    await quietly(async () => (await lock.acquire({ timeout: 1 })).release());
    await quietly(() => lock.acquireSync({ timeout: 1 }).release());
    await quietly(() => lock.tryAcquire()?.release());
    const waiting = [1, 2, 3].map(() => quietly(async () => (await lock.acquire()).release()));
    letGo();
    await Promise.all(waiting);
  });
  letGo();
}
await quietly(async () => {
  const semaphore = new InterProcessSemaphore(`${folder}/semaphore`, { permits: 2 });
  (await semaphore.acquire()).release();
});
await quietly(() => new LockManager(`${folder}/web`).request('a', () => {}));
await quietly(async () => {
  const use = `require('fairlock').layers(); process.exit()`;
  await once(new Worker(use, { eval: true }), 'exit');
});
console.log('alive');

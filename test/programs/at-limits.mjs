// Waits while another process holds, on a system at its limits (lying-flock.c): `threads`, there are none to wait on;
// `kill`, none can be signalled.
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { InterProcessLock, InterProcessSemaphore } from 'fairlock';
import { heldElsewhere } from './held-elsewhere.mjs';

const [limit, file, semaphoreFile] = process.argv.slice(2);
const held = new InterProcessSemaphore(semaphoreFile, { permits: 1 }).tryAcquire();
const letGo = await heldElsewhere(file);
const tell = ({ code }) => console.log(code);
if (limit === 'threads') {
  // Node ends itself where it cannot have the threads of its own pool: so those first.
  await Promise.all(Array.from({ length: 4 }, () => readFile('/proc/self/stat')));
  process.env.LIE = limit;
  for (const fairness of ['kernel', 'fifo']) {
    const lock = new InterProcessLock(file, { fairness });
    try {
      lock.acquireSync({ timeout: 20 });
    } catch (error) {
      tell(error);
    }
    await lock.acquire({ timeout: 20 }).catch(tell);
    const semaphore = new InterProcessSemaphore(semaphoreFile, { permits: 1, fairness });
    await semaphore.acquire({ timeout: 20 }).catch(tell);
  }
  const waiting = new InterProcessSemaphore(semaphoreFile, { permits: 1 }).acquire();
  held.release();
  (await waiting).release();
} else {
  const lock = new InterProcessLock(file);
  const descriptors = () => readdirSync('/proc/self/fd').length;
  process.env.LIE = limit;
  await lock.acquire({ timeout: 5 }).catch(tell);
  await lock.acquire({ timeout: 5 }).catch(() => {});
  const before = descriptors();
  for (let i = 0; i < 20; i++) await lock.acquire({ timeout: 2 }).catch(() => {});
  // A look at the holders may still be under way, and two lock files stay open for the next request.
  while (descriptors() > before + 2) await new Promise((resolve) => setImmediate(resolve));
  const waiting = lock.acquire();
  letGo();
  (await waiting).release();
}
console.log('granted');
process.env.LIE = '';
letGo();

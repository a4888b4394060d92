// Two copies of the library in one process: this one (A), and that in the file `copy` (B).
import { spawnSync } from 'node:child_process';
import * as a from 'fairlock';
import { heldElsewhere } from './held-elsewhere.mjs';

const [scenario, copy, file, other] = process.argv.slice(2);
const load = () => import(copy);
const isFree = () => spawnSync('flock', ['-n', file, 'true']).status === 0;

if (scenario === 'own waits') {
  const letGo = await heldElsewhere(file);
  const waiting = new a.InterProcessLock(file).acquire();
  const b = await load();
  console.log(a.InterProcessLock === b.InterProcessLock);
  (await new b.InterProcessLock(other).acquire()).release();
  letGo();
  const handle = await waiting;
  console.log(isFree());
  handle.release();
  console.log(isFree());
} else if (scenario === 'timeout') {
  const letGo = await heldElsewhere(file);
  const b = await load();
  // The first wait of A is over, and its number is used again by B; then A's next one times out.
  await new a.InterProcessLock(file).acquire({ timeout: 1 }).catch(() => {});
  const waiting = new b.InterProcessLock(file).acquire();
  await new a.InterProcessLock(other, { fairness: 'fifo' }).acquire();
  await new a.InterProcessLock(file).acquire({ timeout: 1 }).catch(({ code }) => console.log(code));
  letGo();
  (await waiting).release();
  console.log('granted', isFree());
} else {
  const b = await load();
  const locks = [a, b, a, b].map(({ InterProcessLock }) => new InterProcessLock(file));
  const first = await locks[0].acquire();
  const order = [];
  const all = locks.map((lock, i) => lock.withLock(() => void order.push(i)));
  console.log(locks[1].tryAcquire());
  first.release();
  await Promise.all(all);
  console.log(order.join());
}

// Strict order where files have no link count.
import { InterProcessLock } from 'fairlock';

for (const fairness of ['auto', 'fifo']) {
  const lock = new InterProcessLock(process.argv[2], { fairness });
  const handle = await lock.acquire({ timeout: 1000 });
  const next = lock.acquire();
  handle.release();
  (await next).release();
  console.log(fairness, lock.inspect().fairness);
}

// One of the demo's processes: a job is to read the counter, wait, and write it back, all under the lock.
import { appendFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as work } from 'node:timers/promises';
import { InterProcessLock } from 'fairlock';

const { index, jobs, lockPath, counter, log, options } = JSON.parse(process.argv[2]);
const lock = new InterProcessLock(lockPath, options);

process.once('message', async () => {
  for (let job = 1; job <= jobs; job++) {
    await lock.withLock(async () => {
      const value = Number(await readFile(counter, 'utf8'));
      await work(5);
      await writeFile(counter, String(value + 1));
      appendFileSync(log, `worker=${index}: ${job}\n`);
    });
    process.send({ index, job });
  }
  process.disconnect();
});
process.send('ready');

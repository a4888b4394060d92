// Read, modify and write a counter file under the lock, with an await in between.
import { readFile, writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { InterProcessLock } from 'fairlock';

const { path, counter, times, options } = JSON.parse(process.argv[2]);
const lock = new InterProcessLock(path, options);
for (let turn = 0; turn < times; turn++) {
  await lock.withLock(async () => {
    const value = Number(await readFile(counter, 'utf8'));
    await setImmediate();
    await writeFile(counter, String(value + 1));
  });
}

// Increments a counter under the lock, each time through a lock object of its own, which may remove the file.
import { readFileSync, writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { InterProcessLock } from 'fairlock';

const { path, counter, times, options } = JSON.parse(process.argv[2]);
for (let turn = 0; turn < times; turn++) {
  const lock = new InterProcessLock(path, { ...options[turn % options.length], unlinkOnRelease: turn % 3 === 0 });
  await lock.withLock(async () => {
    const value = Number(readFileSync(counter, 'utf8'));
    if (turn % 4 === 0) await setImmediate();
    writeFileSync(counter, String(value + 1));
  });
  lock.close();
}

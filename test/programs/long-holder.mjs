// Holds a lock folder over two heartbeats, so many times, and makes sure that it is alone.
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { InterProcessLock } from 'fairlock';

const [file, times] = process.argv.slice(2);
const lock = new InterProcessLock(file, { mechanism: 'lockfile', stale: 2000, update: 1000 });
const turn = () => new Promise((resolve) => setTimeout(resolve, 20));
let kept = 0;
for (let i = 0; i < Number(times); i++) {
  await lock.withLock(async ({ signal }) => {
    mkdirSync(`${file}.inside`);
    const beats = new Set();
    while (beats.size < 3 && !signal.aborted) {
      beats.add(statSync(`${file}.lock`).mtimeMs);
      await turn();
    }
    if (!signal.aborted) kept++;
    rmdirSync(`${file}.inside`);
  });
}
console.log(`kept ${kept}`);

// A file system that locks only what is open for writing.
import { spawnSync } from 'node:child_process';
import { InterProcessLock } from 'fairlock';
import { heldElsewhere } from './held-elsewhere.mjs';

const [file, how] = process.argv.slice(2);
const lock = new InterProcessLock(file);
let waiting;
if (how === 'wait') {
  const letGo = await heldElsewhere(file, {});
  waiting = lock.acquire();
  letGo();
}
const handle = how === 'acquireSync' ? lock.acquireSync() : await (waiting ?? lock.acquire());
console.log(spawnSync('flock', ['-n', file, 'true'], { env: {} }).status);
handle.release();

// A file system that locks only what is open for writing.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { InterProcessLock } from 'fairlock';

const [file, how] = process.argv.slice(2);
const lock = new InterProcessLock(file);
let waiting;
if (how === 'wait') {
  const stdio = ['pipe', 'pipe', 'inherit'];
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; read line'], { stdio, env: {} });
  await once(holder.stdout, 'data');
  waiting = lock.acquire();
  holder.stdin.end();
}
const handle = how === 'acquireSync' ? lock.acquireSync() : await (waiting ?? lock.acquire());
console.log(spawnSync('flock', ['-n', file, 'true'], { env: {} }).status);
handle.release();

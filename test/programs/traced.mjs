// A lock that is held by a process that is killed while this one waits for it; then held once more. Ends with 7.
import { fork } from 'node:child_process';
import { InterProcessLock } from 'fairlock';

const [path, role] = process.argv.slice(2);
const lock = new InterProcessLock(path);
if (role === 'holder') {
  await lock.acquire();
  process.send('held');
  setInterval(() => {}, 1000);
} else {
  const holder = fork(process.argv[1], [path, 'holder']);
  await new Promise((resolve) => holder.once('message', resolve));
  const waiting = lock.acquire();
  holder.kill('SIGKILL');
  (await waiting).release();
  await lock.withLock(() => {});
  process.exitCode = 7;
}

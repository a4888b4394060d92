// A system without open-file-description locks: what is refused when it is made, and what is served.
import { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore } from 'fairlock';

const [file] = process.argv.slice(2);
for (const make of [
  () => new InterProcessLock(file, { mechanism: 'fcntl' }),
  () => new InterProcessLock(file, { fairness: 'fifo' }),
  () => new InterProcessSemaphore(file, { permits: 2 }),
]) {
  try {
    make();
  } catch ({ code, message }) {
    console.log(code, message.split(': ').at(-1));
  }
}
const lock = new InterProcessLock(file, { fairness: 'auto', unlinkOnRelease: true });
const handle = await lock.acquire();
console.log(lock.inspect().fairness, lock.isLocked());
const next = lock.acquire();
handle.release();
(await next).release();
(await new InterProcessReaderWriterLock(file).acquireRead()).release();
console.log('served');

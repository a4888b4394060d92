// Takes every signal that the addon's could be, while it waits: the wait goes on, and later requests poll.
import { createRequire } from 'node:module';
import { InterProcessLock } from 'fairlock';

const [path, fairness] = process.argv.slice(2);
const lock = new InterProcessLock(path, { fairness });
const wait = lock.acquire();
wait.catch(() => {});
await new Promise((resolve) => setImmediate(resolve));
// libuv's own: --expose-internals.
const { Signal } = createRequire(path)('internal/test/binding').internalBinding('signal_wrap');
for (let number = 41; number <= 64; number++) new Signal().start(number);
lock.close();
await wait.catch(({ code }) => console.log(code));
const again = new InterProcessLock(path, { fairness });
try {
  again.acquireSync({ timeout: 5 });
} catch ({ code }) {
  console.log(code);
}
const controller = new AbortController();
const second = again.acquire({ signal: controller.signal });
controller.abort();
await second.catch(({ name }) => console.log(name));
const third = again.acquire();
process.send('ready');
(await third).release();
console.log('granted');
process.disconnect();
process.exit();

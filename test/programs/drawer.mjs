// Takes tickets of a fifo lock that is held, and gives each up at once.
import { InterProcessLock } from 'fairlock';

const [file, count] = process.argv.slice(2);
const lock = new InterProcessLock(file, { fairness: 'fifo' });
const codes = new Map();
for (let i = 0; i < Number(count); i++) {
  const controller = new AbortController();
  const wait = lock.acquire({ signal: controller.signal });
  if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  const code = await wait.then(
    () => 'granted',
    ({ name, code }) => (name === 'AbortError' ? name : code),
  );
  codes.set(code, (codes.get(code) ?? 0) + 1);
}
console.log(JSON.stringify([...codes]));

// Timers that are numbers, as in browser-like environments.
import { spawnSync } from 'node:child_process';

const real = { setTimeout, setInterval, clearTimeout, clearInterval };
const timers = new Map();
let next = 1;
for (const name of ['setTimeout', 'setInterval'])
  globalThis[name] = (...args) => {
    timers.set(next, real[name](...args));
    return next++;
  };
for (const name of ['clearTimeout', 'clearInterval']) globalThis[name] = (id) => real[name](timers.get(id));

const { InterProcessLock } = await import('fairlock');
const [file] = process.argv.slice(2);
const isFree = () => spawnSync('flock', ['-n', file, 'true']).status === 0;
const lock = new InterProcessLock(file);
for (let round = 0; round < 3; round++) {
  const handle = await lock.acquire();
  const held = !isFree();
  const late = await lock.acquire({ timeout: 5 }).catch(({ code }) => code);
  void handle.signal;
  handle.release();
  console.log(held, late, isFree());
}

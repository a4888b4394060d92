// Takes the lock and releases it, again and again; under it, it makes and removes a folder that must not be there.
import { mkdirSync, rmdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { InterProcessLock } from 'fairlock';

const [path] = process.argv.slice(2);
const lock = new InterProcessLock(path);
let going = true;
process.on('message', () => {
  going = false;
});
process.send('going');
while (going) {
  await lock.withLock(async () => {
    mkdirSync(`${path}.inside`);
    await setImmediate();
    rmdirSync(`${path}.inside`);
  });
  await setImmediate();
}
process.disconnect();

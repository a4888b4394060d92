// Removes the lock file whenever it has no holder, again and again, as `fairlock gc` does. Says how often it did.
import { setImmediate } from 'node:timers/promises';
import { removeIfUnused } from '../../dist/internal/inspect/remove-unused.js';

const [path] = process.argv.slice(2);
let going = true;
let removed = 0;
process.on('message', () => {
  going = false;
});
process.send('going');
while (going) {
  if (removeIfUnused(path, false)) removed++;
  await setImmediate();
}
process.send({ removed });
process.disconnect();

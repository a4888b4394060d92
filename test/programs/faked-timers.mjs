// Timers that are faked when the library is first used: the lock file that it keeps open is closed all the same.
import { readdirSync, readlinkSync } from 'node:fs';
import { mock } from 'node:test';
import { InterProcessLock } from 'fairlock';

const [file] = process.argv.slice(2);
const isOurs = (fd) => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === file;
  } catch {
    return false;
  }
};
const open = () => readdirSync('/proc/self/fd').filter(isOurs).length;
mock.timers.enable();
(await new InterProcessLock(file).acquire()).release();
console.log(open());
mock.timers.reset();
while (open() > 0) await new Promise((resolve) => setImmediate(resolve));
console.log('closed');

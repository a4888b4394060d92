// Has a POSIX lock on a file, and asks whether that is locked: closing it would drop the lock.
import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { InterProcessLock, InterProcessSemaphore } from 'fairlock';

const [file] = process.argv.slice(2);
const { fcntl, constants } = createRequire(import.meta.url)('fs-ext');
await promisify(fcntl)(openSync(file, 'r+'), 'setlk', constants.F_WRLCK);
const probe = `import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)`;
const isHeld = () => spawnSync('python3', ['-c', probe, file]).status !== 0;
console.log(isHeld());
for (const mechanism of ['fcntl', 'flock'])
  console.log(mechanism, new InterProcessLock(file, { mechanism, dataFile: true }).isLocked());
console.log('semaphore', new InterProcessSemaphore(file, { permits: 1 }).isLocked());
console.log(isHeld());

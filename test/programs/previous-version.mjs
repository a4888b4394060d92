// A process of an earlier version of the library, in the folder `previous`, that does what each line says.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [previous, file, options] = process.argv.slice(2);
const { InterProcessLock, LeaderElection, runOnce, setNativeBinding } = await import(
  pathToFileURL(join(previous, 'fairlock.mjs')).href
);
setNativeBinding(join(previous, 'linux-x64.node'));
const lock = new InterProcessLock(file, JSON.parse(options));
let handle = null;
const got = (acquired) => {
  handle = acquired;
  console.log(handle === null ? 'held' : 'acquired');
};
const does = {
  acquire: () => void lock.acquire().then(got),
  try: () => got(lock.tryAcquire()),
  release: () => {
    handle.release();
    console.log('released');
  },
  once: async () => console.log(await runOnce(`${file}-once`, () => 'by 0.2.0', { key: 'k' })),
  lead: () => new LeaderElection(`${file}-leader`).run(({ token }) => console.log(token)),
};
console.log('ready');
for await (const line of createInterface(process.stdin)) await does[line]();

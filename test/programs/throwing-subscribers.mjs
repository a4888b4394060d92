// Subscribers of the library's events that throw.
import { subscribe } from 'node:diagnostics_channel';
import { FifoMutex } from 'fairlock';

const seen = [];
process.on('uncaughtException', ({ message }) => seen.push(message));
for (const name of ['request', 'grant', 'release', 'cancel'])
  subscribe(`fairlock:${name}`, () => {
    throw new Error(name);
  });
const mutex = new FifoMutex();
const first = await mutex.acquire();
const second = mutex.acquire();
await mutex.acquire({ timeout: 1 }).catch(({ code }) => console.log(code));
first.release();
(await second).release();
setImmediate(() => console.log(seen.join()));

// A client of the Web Locks API, in a process or a Worker of its own: does what it is told, and says what came of it.
import { parentPort, workerData } from 'node:worker_threads';
import { LockManager } from 'fairlock/web-locks';

let locks;
const send = (message) => (parentPort === null ? process.send(message) : parentPort.postMessage(message));
const releases = new Map();
const controllers = new Map();
const requests = new Set();
let isEnding = false;

async function request({ id, name, options = {}, abortable, brief }) {
  if (abortable) {
    controllers.set(id, new AbortController());
    options.signal = controllers.get(id).signal;
  }
  try {
    const value = await locks.request(name, options, (lock) => {
      send({ id, granted: lock && { name: lock.name, mode: lock.mode } });
      lock?.signal.addEventListener('abort', () => send({ id, lost: true }));
      if (brief || isEnding) return 'brief';
      return lock === null ? 'null' : new Promise((resolve) => releases.set(id, resolve));
    });
    send({ id, done: value });
  } catch ({ name: error, message }) {
    send({ id, error, message });
  }
}

function use(directory) {
  locks = new LockManager(directory);
  send({ ready: true });
}

/** Ends all requests: the program is as it was at its start. */
async function reset() {
  isEnding = true;
  for (const release of releases.values()) release('released');
  for (const controller of controllers.values()) controller.abort();
  await Promise.all(requests);
  isEnding = false;
  for (const all of [releases, controllers, requests]) all.clear();
}

(parentPort ?? process).on('message', async (message) => {
  if (message.request) requests.add(request(message.request));
  else if (message.reset) await reset().then(() => send({ reset: true }));
  else if (message.use) use(message.use);
  else if (message.release !== undefined) releases.get(message.release)('released');
  else if (message.abort !== undefined) controllers.get(message.abort).abort();
  else if (message.query) send({ snapshot: await locks.query() });
});
process.on('disconnect', () => process.exit());
if (parentPort !== null) use(workerData);

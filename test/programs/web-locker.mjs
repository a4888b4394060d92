// A client of the Web Locks API, in a process or a Worker of its own: does what it is told, and says what came of it.
import { parentPort, workerData } from 'node:worker_threads';
import { LockManager } from 'fairlock/web-locks';

const locks = new LockManager(workerData ?? process.argv[2]);
const send = (message) => (parentPort === null ? process.send(message) : parentPort.postMessage(message));
const releases = new Map();
const controllers = new Map();

async function request({ id, name, options = {}, abortable, brief }) {
  if (abortable) {
    controllers.set(id, new AbortController());
    options.signal = controllers.get(id).signal;
  }
  try {
    const value = await locks.request(name, options, (lock) => {
      send({ id, granted: lock && { name: lock.name, mode: lock.mode } });
      lock?.signal.addEventListener('abort', () => send({ id, lost: true }));
      if (brief) return 'brief';
      return lock === null ? 'null' : new Promise((resolve) => releases.set(id, resolve));
    });
    send({ id, done: value });
  } catch ({ name: error, message }) {
    send({ id, error, message });
  }
}

(parentPort ?? process).on('message', async (message) => {
  if (message.request) request(message.request);
  else if (message.release !== undefined) releases.get(message.release)('released');
  else if (message.abort !== undefined) controllers.get(message.abort).abort();
  else if (message.query) send({ snapshot: await locks.query() });
  else if (message.exit) process.exit();
});
process.on('disconnect', () => process.exit());
send({ ready: true });

// A process that does what it is told over IPC: one lock object, the handles it got, in order. After `reset` it is as
// if it had just begun.
import { closeSync, openSync } from 'node:fs';
import { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore, layers, lockBeside } from 'fairlock';

const kinds = {
  InterProcessLock,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  lockBeside: function beside(path, options) {
    return lockBeside(path, options);
  },
};

let lock;
const locks = [];
let reading = false;
const handles = [];
const controllers = new Map();

const methods = {
  layers: () => layers(),
  create(kind, path, options) {
    lock = new kinds[kind](path, options);
    locks.push(lock);
    return lock.mechanism ?? null;
  },
  async acquire(options = {}, { method = 'acquire', abortable } = {}) {
    if (abortable !== undefined) {
      controllers.set(abortable, new AbortController());
      options.signal = controllers.get(abortable).signal;
    }
    handles.push(await lock[method](options));
    return handles.length - 1;
  },
  tryAcquire(method = 'tryAcquire') {
    const handle = lock[method]();
    if (handle !== null) handles.push(handle);
    return handle !== null;
  },
  acquireSync(options) {
    handles.push(lock.acquireSync(options));
  },
  adopt: (fd) => handles.push(lock.adopt(fd)) - 1,
  abort: (which) => controllers.get(which).abort(),
  release: (index = handles.length - 1) => handles[index].release(),
  close: () => lock.close(),
  inspect: () => lock.inspect(),
  /** Resolves when the handle is told that it lost the lock. */
  lost(index = handles.length - 1) {
    const { signal } = handles[index];
    const reason = () => ({ name: signal.reason.name, code: signal.reason.code });
    if (signal.aborted) return reason();
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(reason())));
  },
  watch: (index = handles.length - 1) => handles[index].signal.aborted,
  setuid: (id) => {
    layers(); // The other user may not be allowed to read the folder of this package.
    process.setgid(id);
    process.setuid(id);
  },
  exhaustDescriptors() {
    const taken = [];
    try {
      for (;;) taken.push(openSync('/dev/null'));
    } catch {
      return taken.length;
    } finally {
      this.freeDescriptors = () => taken.map((fd) => closeSync(fd)).length;
    }
  },
  /** Two overlapping readers at any time, so that the shared lock is never free by itself. */
  async readInALoop() {
    let rounds = 0;
    reading = true;
    const loop = async () => {
      for (; reading; rounds++) {
        const handle = await lock.acquireRead();
        await new Promise((resolve) => setImmediate(resolve));
        handle.release();
      }
    };
    await Promise.all([loop(), loop()]);
    return rounds;
  },
  stop() {
    reading = false;
  },
  reset() {
    reading = false;
    controllers.clear();
    for (const one of locks.splice(0)) one.close();
    for (const handle of handles.splice(0)) handle.release();
  },
  exit: (code) => process.exit(code),
};

process.on('message', async ({ id, method, args }) => {
  try {
    process.send({ id, result: (await methods[method](...args)) ?? null });
  } catch (error) {
    const { name, message, code, syscall, path } = error;
    process.send({ id, error: { name, message, code, syscall, path } });
  }
});
process.on('disconnect', () => process.exit());

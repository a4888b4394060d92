// The core of the library, in some thirty checks that need nothing but a runtime: for platforms on which the suite does
// not run. Prints a line for each; exit code 1 if one failed.
//   RUNTIME core.mjs [native | lockfile]      what is expected to lock
// Where a program of the runtime is started by another one (an emulator), FAIRLOCK_STARTED_BY is that command.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  acquireAll,
  FifoMutex,
  InterProcessLock,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  layers,
  lockBeside,
} from 'fairlock';
import { LeaderElection, runOnce } from 'fairlock/cluster';

const CHECK_MS = 60_000;
const self = fileURLToPath(import.meta.url);

/** What another process does: holds, or counts. Told by lines on stdin, tells by lines on stdout. */
async function child(what, path, options, count) {
  if (what === 'permits') {
    const semaphore = new InterProcessSemaphore(path, { permits: 2 });
    for (let i = 0; i < Number(count); i++) (await semaphore.acquire()).release();
    return console.log('released');
  }
  const lock = new InterProcessLock(path, JSON.parse(options));
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  if (what === 'count') {
    for (let i = 0; i < Number(count); i++)
      await lock.withLock(() =>
        writeFileSync(`${path}.count`, String(Number(readFileSync(`${path}.count`, 'utf8')) + 1)),
      );
    return console.log('counted');
  }
  if (lock.inspect().fairness === 'fifo') subscribe('fairlock:queued', () => console.log('queued'));
  console.log('asking');
  const handle = what === 'adopt' ? lock.adopt(3) : await lock.acquire();
  console.log('held');
  if (what === 'exit') process.exit();
  await lines.next();
  handle.release();
  console.log('released');
  await lines.next();
  process.exit();
}

async function worker({ path, options }) {
  await new InterProcessLock(path, options).acquire();
  parentPort.postMessage('held');
  setInterval(() => {}, 1000);
}

class Process {
  constructor(what, path, options = {}, { count = 0, fd } = {}) {
    const [command, ...first] = [
      ...(process.env.FAIRLOCK_STARTED_BY ?? '').split(' ').filter(Boolean),
      process.execPath,
    ];
    const args = [...first, ...process.execArgv, self, 'child', what, path, JSON.stringify(options), String(count)];
    const stdio = ['pipe', 'pipe', 'inherit', ...(fd === undefined ? [] : [fd])];
    this.child = spawn(command, args, { stdio });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.exited = new Promise((resolve) => this.child.once('exit', resolve));
    running.add(this);
  }

  async says(line) {
    const { value } = await this.lines.next();
    assert.equal(value, line);
    return this;
  }

  async release() {
    this.child.stdin.write('\n');
    await this.says('released');
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
    running.delete(this);
  }
}

const running = new Set();
const holder = async (path, options) => (await new Process('hold', path, options).says('asking')).says('held');

let expected;
let folder;
let number = 0;
const path = () => join(folder, `lock-${number++}`);
const settle = () => new Promise((resolve) => setTimeout(resolve, 20));
const native = () => expected === 'native';
const queues = () => native() && new InterProcessLock(path(), { fairness: 'auto' }).inspect().fairness === 'fifo';
const hasRanges = () => {
  try {
    return native() && new InterProcessLock(path(), { mechanism: 'fcntl' }).mechanism === 'fcntl';
  } catch {
    return false;
  }
};
const options = () => (native() ? {} : { mechanism: 'lockfile', stale: 2000 });
const make = (file = path(), more = {}) => new InterProcessLock(file, { ...options(), ...more });

const noQueues = () => !queues() && 'no fair locks';

/** Processes that add to a number in a file, each a hundred times. */
async function count(processes, options) {
  const file = path();
  writeFileSync(`${file}.count`, '0');
  const counters = Array.from({ length: processes }, () => new Process('count', file, options, { count: 100 }));
  for (const one of counters) await one.says('counted');
  assert.equal(readFileSync(`${file}.count`, 'utf8'), String(processes * 100));
  for (const one of counters) await one.kill();
}

/** Each: what it checks; a function; and, where it cannot be checked everywhere, the reason if it cannot here. */
const checks = [
  [
    'what locks is what was expected',
    () => {
      assert.equal(layers()['native-fallback'].loaded, native());
      const lock = new InterProcessLock(path());
      assert.equal(lock.mechanism, native() ? 'flock' : 'lockfile');
      assert.equal(lock.inspect().layers.wait, native() ? 'native-fallback' : 'poll');
    },
  ],
  [
    'acquire and release',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      assert.equal(lock.held, true);
      handle.release();
      assert.equal(lock.held, false);
    },
  ],
  [
    'tryAcquire does not wait',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      assert.equal(await make(lock.path).tryAcquire(), null);
      handle.release();
      (await make(lock.path).tryAcquire()).release();
    },
  ],
  [
    'requests of a thread are served in order',
    async () => {
      const lock = make();
      const order = [];
      await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          lock.withLock(async () => {
            order.push(i);
            await null;
          }),
        ),
      );
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
      );
    },
  ],
  [
    'a timeout is ERR_LOCK_TIMEOUT',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      await assert.rejects(lock.acquire({ timeout: 5 }), { code: 'ERR_LOCK_TIMEOUT' });
      handle.release();
    },
  ],
  [
    'an abort rejects with its reason',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      const controller = new AbortController();
      const wait = lock.acquire({ signal: controller.signal });
      controller.abort(new Error('enough'));
      await assert.rejects(wait, /enough/);
      handle.release();
    },
  ],
  ['acquireSync blocks and gets it', () => make().acquireSync().release()],
  [
    'acquireSync does not wait for its own thread',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      assert.throws(() => lock.acquireSync(), { code: 'ERR_LOCK_DEADLOCK' });
      handle.release();
    },
  ],
  [
    'withLock releases after an error',
    async () => {
      const lock = make();
      await assert.rejects(
        lock.withLock(() => Promise.reject(new Error('inside'))),
        /inside/,
      );
      await lock.withLock(() => {});
    },
  ],
  [
    'a reentrant lock is acquired again',
    async () => {
      const lock = make(path(), { reentrant: true });
      await lock.withLock(() => lock.withLock(() => assert.equal(lock.held, true)));
    },
  ],
  [
    'isLocked tells',
    async () => {
      const lock = make();
      assert.equal(lock.isLocked(), false);
      const handle = await lock.acquire();
      assert.equal(make(lock.path).isLocked(), true);
      handle.release();
    },
  ],
  [
    'another process is excluded, and waited for',
    async () => {
      const lock = make();
      const other = await holder(lock.path, options());
      assert.equal(await lock.tryAcquire(), null);
      const wait = lock.acquire();
      await settle();
      await other.release();
      (await wait).release();
      await other.kill();
    },
  ],
  [
    'a process that is killed leaves it free',
    async () => {
      const lock = make();
      const other = await holder(lock.path, options());
      const wait = lock.acquire();
      await settle();
      await other.kill();
      (await wait).release();
    },
  ],
  [
    'a process that exits while it holds leaves it free',
    async () => {
      const lock = make();
      const other = await (await new Process('exit', lock.path, options()).says('asking')).says('held');
      await other.exited;
      (await lock.acquire()).release();
    },
  ],
  [
    'a cancelled wait for another process keeps nothing',
    async () => {
      const lock = make();
      const other = await holder(lock.path, options());
      const controller = new AbortController();
      const wait = lock.acquire({ signal: controller.signal });
      await settle();
      controller.abort();
      await assert.rejects(wait, { name: 'AbortError' });
      await assert.rejects(lock.acquire({ timeout: 5 }), { code: 'ERR_LOCK_TIMEOUT' });
      if (native()) assert.throws(() => lock.acquireSync({ timeout: 5 }), { code: 'ERR_LOCK_TIMEOUT' });
      await other.release();
      await other.kill();
      const next = await holder(lock.path, options());
      await next.release();
      (await lock.acquire()).release();
    },
  ],
  [
    'a thousand waits that are cancelled',
    async () => {
      const lock = make();
      const other = await holder(lock.path, options());
      for (let i = 0; i < 1000; i++) {
        const controller = new AbortController();
        const wait = lock.acquire({ signal: controller.signal });
        controller.abort();
        await assert.rejects(wait, { name: 'AbortError' });
      }
      await other.kill();
      (await lock.acquire()).release();
    },
  ],
  ['two processes count to 100 each', () => count(2, options())],
  ['three processes count to 100 each, in strict order', () => count(3, { fairness: 'fifo' }), noQueues],
  [
    'a Worker is excluded, and leaves it free when it is terminated',
    async () => {
      const lock = make();
      const one = new Worker(self, { workerData: { path: lock.path, options: options() } });
      await new Promise((resolve, reject) => one.once('message', resolve).once('error', reject));
      assert.equal(await lock.tryAcquire(), null);
      await one.terminate();
      (await lock.acquire()).release();
    },
    () => !native() && 'a lock folder stays until it is stale',
  ],
  [
    'readers share, a writer does not',
    async () => {
      const lock = new InterProcessReaderWriterLock(path(), options());
      const [first, second] = [await lock.acquireRead(), await lock.acquireRead()];
      const write = lock.acquireWrite();
      assert.equal(lock.tryAcquireWrite(), null);
      first.release();
      second.release();
      (await write).release();
    },
    () => !native() && 'a lock folder knows no readers',
  ],
  [
    'byte ranges exclude each other where they overlap',
    async () => {
      const file = path();
      const range = (start, length) => new InterProcessLock(file, { mechanism: 'fcntl', range: { start, length } });
      const [first, second] = [await range(0, 10).acquire(), await range(10, 10).acquire()];
      assert.equal(range(5, 10).tryAcquire(), null);
      first.release();
      second.release();
    },
    () => !hasRanges() && 'no locks of bytes here',
  ],
  [
    'processes are served in the order in which they asked',
    async () => {
      const lock = make(path(), { fairness: 'fifo' });
      const handle = await lock.acquire();
      const all = [];
      for (let i = 1; i <= 3; i++)
        all.push(await (await new Process('hold', lock.path, { fairness: 'fifo' }).says('asking')).says('queued'));
      handle.release();
      for (const one of all) {
        await one.says('held');
        await one.release();
        await one.kill();
      }
    },
    noQueues,
  ],
  [
    'a holder that asks again comes last',
    async () => {
      const lock = make(path(), { fairness: 'fifo' });
      const handle = await lock.acquire();
      const other = await (await new Process('hold', lock.path, { fairness: 'fifo' }).says('asking')).says('queued');
      handle.release();
      const again = lock.acquire();
      await other.says('held');
      await other.release();
      (await again).release();
      await other.kill();
    },
    noQueues,
  ],
  [
    'a request in the middle of the queue that is cancelled, or dies, is skipped',
    async () => {
      const lock = make(path(), { fairness: 'fifo' });
      const handle = await lock.acquire();
      const queued = async () =>
        (await new Process('hold', lock.path, { fairness: 'fifo' }).says('asking')).says('queued');
      const dies = await queued();
      const own = make(lock.path, { fairness: 'fifo' });
      const controller = new AbortController();
      const cancelled = own.acquire({ signal: controller.signal });
      const last = await queued();
      controller.abort();
      await assert.rejects(cancelled, { name: 'AbortError' });
      await dies.kill();
      handle.release();
      await last.says('held');
      await last.release();
      await last.kill();
      (await own.acquire()).release();
    },
    noQueues,
  ],
  [
    'a semaphore admits as many as it has permits',
    async () => {
      const semaphore = new InterProcessSemaphore(path(), { permits: 2 });
      const [first, second] = [await semaphore.acquire(), await semaphore.acquire()];
      assert.deepEqual([first.permit, second.permit].sort(), [0, 1]);
      assert.equal(semaphore.tryAcquire(), null);
      const third = semaphore.acquire();
      second.release();
      (await third).release();
      first.release();
    },
    () => !hasRanges() && 'no locks of bytes here',
  ],
  [
    'processes that ask for permits at one moment know that they agree on how many there are',
    async () => {
      const file = path();
      const all = Array.from({ length: 4 }, () => new Process('permits', file, {}, { count: 200 }));
      for (const one of all) await one.says('released');
      for (const one of all) await one.kill();
    },
    () => !hasRanges() && 'no locks of bytes here',
  ],
  [
    'several locks at once',
    async () => {
      const handle = await acquireAll([make(), make()]);
      handle.release();
    },
  ],
  [
    'a lock beside a file',
    async () => {
      const file = path();
      writeFileSync(file, '{}');
      await lockBeside(file, options()).withLock(() => writeFileSync(file, '{"a":1}'));
      assert.equal(readFileSync(file, 'utf8'), '{"a":1}');
    },
  ],
  [
    'unlinkOnRelease removes the file',
    async () => {
      const lock = make(path(), { unlinkOnRelease: true });
      (await lock.acquire()).release();
      assert.equal(existsSync(lock.path), false);
    },
  ],
  [
    'a process with native locks and one without exclude each other',
    async () => {
      const [file, other] = [path(), path()];
      (await new InterProcessLock(file).acquire()).release();
      await assert.rejects(new InterProcessLock(file, { mechanism: 'lockfile' }).acquire(), {
        code: 'ERR_LOCK_MISMATCH',
      });
      mkdirSync(`${other}.lock`);
      await assert.rejects(new InterProcessLock(other).acquire(), { code: 'ERR_LOCK_MISMATCH' });
    },
    () => !native() && 'there are no native locks',
  ],
  [
    'a holder whose file is replaced is told',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      const lost = new Promise((resolve) => handle.signal.addEventListener('abort', resolve));
      writeFileSync(`${lock.path}.new`, '');
      renameSync(`${lock.path}.new`, lock.path);
      await lost;
      assert.equal(handle.signal.reason.code, 'ERR_LOCK_LOST');
      handle.release();
    },
    () =>
      native()
        ? process.platform === 'win32' && 'Windows does not replace a file that is open'
        : 'a lock folder is watched by its heartbeat',
  ],
  [
    'inspect names this process',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      assert.equal(lock.inspect().holders[0]?.pid, process.pid);
      handle.release();
    },
  ],
  [
    'a child takes over the lock that it inherits',
    async () => {
      const lock = make();
      const handle = await lock.acquire();
      const heir = await new Process('adopt', lock.path, options(), { fd: handle.fd }).says('asking');
      await heir.says('held');
      handle.detach();
      assert.equal(lock.tryAcquire(), null);
      await heir.release();
      (await lock.acquire()).release();
      await heir.kill();
    },
    () => !(native() && process.platform !== 'win32') && 'no process inherits this kind of lock',
  ],
  [
    'one candidate leads',
    async () => {
      const election = new LeaderElection(path(), options());
      const led = await new Promise((resolve) => {
        const controller = new AbortController();
        election
          .run(
            (signal) => {
              resolve(!signal.aborted);
              controller.abort();
            },
            { signal: controller.signal },
          )
          .catch(() => {});
      });
      assert.equal(led, true);
      election.close?.();
    },
  ],
  [
    'runOnce runs once',
    async () => {
      const file = path();
      let runs = 0;
      for (let i = 0; i < 2; i++) await runOnce(file, () => ++runs, { key: 'release 7' });
      assert.equal(runs, 1);
    },
  ],
  [
    'an in-process mutex is fair',
    async () => {
      const mutex = new FifoMutex();
      const order = [];
      await Promise.all([1, 2, 3].map((i) => mutex.withLock(() => order.push(i))));
      assert.deepEqual(order, [1, 2, 3]);
    },
  ],
];

async function main(what = 'native') {
  expected = what;
  folder = mkdtempSync(join(tmpdir(), 'fairlock-core-'));
  let failed = 0;
  for (const [name, check, whyNot = () => false] of checks) {
    const reason = whyNot();
    if (reason) {
      console.log(`skipped: ${name}: ${reason}`);
      continue;
    }
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done after ${CHECK_MS} ms`)), CHECK_MS);
    });
    try {
      await Promise.race([check(), late]);
      console.log(`ok: ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${name}: ${error.stack ?? error}`);
    }
    clearTimeout(timer);
    for (const one of running) await one.kill();
  }
  console.log(`${failed} failed`);
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // On Windows files that are open stay.
  }
  process.exit(failed > 0 ? 1 : 0);
}

if (!isMainThread) await worker(workerData);
else if (process.argv[2] === 'child') await child(...process.argv.slice(3));
else await main(process.argv[2]);

// One of several Node processes that contend for a lock: contender.mjs STRATEGY PATH HOLD_US WARM START END OUT.
// WARM, START and END in ns of the monotonic clock; OUT gets pairs of (asked, granted). From WARM to START the
// processes contend without holding, so that the code of the contended path is compiled when it is measured.
import { existsSync, openSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { InterProcessLock } from 'fairlock';
import { spin } from './spin.mjs';

const [strategy, path, hold, warm, start, end, out] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const now = () => Number(process.hrtime.bigint());

/** Each: a function that acquires and resolves to the function that releases. */
const strategies = {
  'fairlock kernel': () => withFairlock({ fairness: 'kernel' }),
  'fairlock fifo': () => withFairlock({ fairness: 'fifo' }),
  'fs-ext in the pool': () => {
    const { flock, flockSync } = require('fs-ext');
    const fd = openSync(path, 'a+');
    return () =>
      new Promise((resolve, reject) =>
        flock(fd, 'ex', (error) => (error ? reject(error) : resolve(() => flockSync(fd, 'un')))),
      );
  },
  'fs-native-extensions': () => {
    const { waitForLock, unlock } = require('fs-native-extensions');
    const fd = openSync(path, 'a+');
    return async () => {
      await waitForLock(fd);
      return () => unlock(fd);
    };
  },
  'proper-lockfile': () => {
    const { lock } = require('proper-lockfile');
    return () =>
      lock(path, {
        realpath: false,
        retries: { forever: true, minTimeout: 1, maxTimeout: 50, factor: 2, randomize: true },
      });
  },
};

function withFairlock(options) {
  const lock = new InterProcessLock(path, options);
  return async () => (await lock.acquire()).release;
}

const acquire = strategies[strategy]();
/** For syscalls.mjs, which looks for it in the trace. */
const mark = (what) => process.env.FAIRLOCK_BENCH_MARKS && existsSync(`/fairlock-bench-${what}`);

async function contend(end, hold, begun = () => {}) {
  const pairs = [];
  for (let asked = now(); asked < end; asked = now()) {
    const release = await acquire();
    if (pairs.length === 0) begun();
    const granted = now();
    spin(hold);
    await release();
    pairs.push(asked, granted);
  }
  return pairs;
}

while (now() < Number(warm));
await contend(Number(start), 0);
const pairs = await contend(Number(end), Number(hold), () => mark('begin'));
mark('end');
writeFileSync(out, Buffer.from(Float64Array.from(pairs).buffer));
process.exit(0);

// How many functions of src/ one acquisition goes through, from the call to the handle, and in which files: counted by
// V8 while another program (flock(1)) holds the lock, or while it is free.
//   node --import tsx scripts/bench/hops.mjs [--list] [--src FOLDER]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Session } from 'node:inspector/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { folder, here, table } from './support.mjs';

const { values } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    src: { type: 'string', default: here('../../src') },
  },
});
const src = pathToFileURL(`${resolve(values.src)}/`).href;
const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });

/** The functions that were called while `call` ran, as [file, function]. */
async function calledBy(call) {
  await session.post('Profiler.takePreciseCoverage');
  await call();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  return result
    .filter(({ url }) => url.startsWith(src))
    .flatMap(({ url, functions }) =>
      functions
        .filter(({ ranges, functionName }) => ranges[0].count > 0 && functionName !== '')
        .map(({ functionName }) => [fileURLToPath(url).slice(fileURLToPath(src).length), functionName]),
    );
}

async function heldElsewhere(path) {
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  return () => holder.stdin.end('\n');
}

/** From the request to the handle; the second time, when what is kept between requests is there. */
async function contended(lock) {
  let release = await heldElsewhere(lock.path);
  let pending = lock.acquire();
  release();
  (await pending).release();
  release = await heldElsewhere(lock.path);
  let handle;
  const called = await calledBy(async () => {
    pending = lock.acquire();
    release();
    handle = await pending;
  });
  handle.release();
  return called;
}

async function free(lock) {
  (await lock.acquire()).release();
  let handle;
  const called = await calledBy(async () => {
    handle = await lock.acquire();
  });
  handle.release();
  return called;
}

const { InterProcessLock } = await import(new URL('index.ts', src).href);
const rows = [];
for (const [name, run] of Object.entries({ free, contended })) {
  for (const fairness of ['kernel', 'fifo']) {
    const called = await run(
      new InterProcessLock(join(folder, `${name}-${fairness}`), { fairness, mechanism: 'flock' }),
    );
    rows.push([name, fairness, called.length, new Set(called.map(([file]) => file)).size]);
    if (values.list) console.log(`${name}, ${fairness}\n${called.map((one) => `  ${one.join('  ')}`).join('\n')}`);
  }
}
console.log(table(['lock', 'order', 'functions', 'files'], rows));
process.exit();

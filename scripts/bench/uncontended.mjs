// Uncontended acquire + release, beside what it is made of and beside peers, in one run.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { FifoMutex, InterProcessLock } from 'fairlock';
import { loadAddon } from '../../dist/internal/native/addon.js';
import { buildBaseline, folder, machine, median, table } from './support.mjs';

const require = createRequire(import.meta.url);
const path = join(folder, 'lock');
const ROUNDS = 9;
const baseline = buildBaseline();
const fsExt = attempt(() => require('fs-ext'));
const addon = loadAddon().api;
const properLockfile = require('proper-lockfile');
const fd = openSync(path, 'w+');
writeFileSync(path, '');
const [EX_NB, UN] = [6, 8];
const file = addon?.file(fd, path, false, false, 0, 0);

function attempt(load) {
  try {
    return load();
  } catch {
    return undefined;
  }
}

async function perCall(times, once) {
  for (let i = 0; i < times / 5; i++) await once();
  const begin = process.hrtime.bigint();
  for (let i = 0; i < times; i++) await once();
  return Number(process.hrtime.bigint() - begin) / times;
}

function perCallSync(times, once) {
  for (let i = 0; i < times / 5; i++) once();
  const begin = process.hrtime.bigint();
  for (let i = 0; i < times; i++) once();
  return Number(process.hrtime.bigint() - begin) / times;
}

const own = (options) => {
  const lock = new InterProcessLock(join(folder, `own-${JSON.stringify(options).replace(/\W/g, '')}`), options);
  return () => perCall(50_000, async () => (await lock.acquire()).release());
};
const mutex = new FifoMutex();
const sync = new InterProcessLock(join(folder, 'sync'));
const subjects = {
  'C: flock + stat + unlock': () =>
    Number(execFileSync(baseline, ['uncontended', path, '200000'], { encoding: 'utf8' })),
  ...(fsExt && {
    'fs-ext: flockSync pair': () =>
      perCallSync(100_000, () => {
        fsExt.flockSync(fd, EX_NB);
        fsExt.flockSync(fd, UN);
      }),
    'fs-ext: flockSync pair + statSync': () =>
      perCallSync(100_000, () => {
        fsExt.flockSync(fd, EX_NB);
        statSync(path);
        fsExt.flockSync(fd, UN);
      }),
  }),
  ...(fsExt &&
    addon && {
      "fs-ext's try and unlock + the addon's identity check": () =>
        perCallSync(100_000, () => {
          fsExt.flockSync(fd, EX_NB);
          addon.isCurrent(file);
          fsExt.flockSync(fd, UN);
        }),
    }),
  ...(addon && {
    "the addon's fused try + unlock": () =>
      perCallSync(100_000, () => {
        addon.tryLock(file, false);
        addon.unlock(file);
      }),
  }),
  'fairlock acquire + release': own({}),
  'fairlock tryAcquire + release': () => perCallSync(100_000, () => sync.tryAcquire().release()),
  ...(addon && { 'fairlock, fcntl': own({ mechanism: 'fcntl' }), 'fairlock, fifo': own({ fairness: 'fifo' }) }),
  'FifoMutex (in process)': () => perCall(100_000, async () => (await mutex.acquire()).release()),
  'proper-lockfile': () => perCall(300, async () => (await properLockfile.lock(path))()),
};

const seen = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++)
  for (const [name, measure] of Object.entries(subjects)) seen[name].push(await measure());
closeSync(fd);

const [base] = Object.values(seen).map(median);
console.log(`${machine()}; median of ${ROUNDS} rounds; FAIRLOCK_DISABLE=${process.env.FAIRLOCK_DISABLE ?? ''}`);
console.log(
  table(
    ['', 'ns', 'times C'],
    Object.entries(seen).map(([name, values]) => [name, median(values).toFixed(0), (median(values) / base).toFixed(2)]),
  ),
);

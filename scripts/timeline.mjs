// npm run timeline: draws docs/timeline.svg, the picture of the README, from real runs. 4 processes want one lock, hold
// it for 10 ms and ask again at once; a bar is a hold. By polling: proper-lockfile, which looks again every 10 to 100 ms.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as work } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { InterProcessLock } from 'fairlock';
import lockfile from 'proper-lockfile';

const PROCESSES = 4;
const HOLD_MS = 10;
const WINDOW_MS = 600;
const now = () => Number(process.hrtime.bigint()) / 1e6;

const LOCKS = {
  'a lock that polls': (path) => {
    const retries = { retries: 1000, minTimeout: 10, maxTimeout: 100, factor: 1.2 };
    return async (job) => {
      const release = await lockfile.lock(path, { realpath: false, retries });
      await job();
      await release();
    };
  },
  'fairlock, in the kernel’s order': (path) => ownLock(path, 'kernel'),
  'fairlock, fairness: fifo': (path) => ownLock(path, 'fifo'),
};

function ownLock(path, fairness) {
  const lock = new InterProcessLock(path, { fairness });
  return (job) => lock.withLock(job);
}

if (process.argv[2] === undefined) await draw();
else await contend(...process.argv.slice(2));

async function contend(name, path) {
  const locked = LOCKS[name](path);
  process.send('ready');
  const [start] = await once(process, 'message');
  const holds = [];
  await work(start - now());
  while (now() < start + WINDOW_MS) {
    await locked(async () => {
      const begin = now();
      await work(HOLD_MS);
      holds.push({ begin: begin - start, end: now() - start });
    });
  }
  process.send(holds, () => process.disconnect());
}

async function draw() {
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-timeline-'));
  const values = [];
  for (const name of Object.keys(LOCKS)) {
    const children = Array.from({ length: PROCESSES }, () =>
      fork(fileURLToPath(import.meta.url), [name, join(folder, `${Object.keys(LOCKS).indexOf(name)}.lock`)]),
    );
    await Promise.all(children.map((child) => once(child, 'message')));
    const start = now() + 50;
    const told = children.map(async (child, i) => {
      child.send(start);
      const [holds] = await once(child, 'message');
      for (const hold of holds) values.push({ ...hold, lock: name, process: `process ${i + 1}` });
      return holds.length;
    });
    console.log(`${name}: ${(await Promise.all(told)).join(', ')} holds`);
  }
  rmSync(folder, { recursive: true });
  writeFileSync(fileURLToPath(new URL('../docs/timeline.svg', import.meta.url)), await asSvg(values));
}

async function asSvg(values) {
  const [vega, { compile }, { optimize }] = await Promise.all([import('vega'), import('vega-lite'), import('svgo')]);
  const { spec } = compile({
    data: { values },
    background: 'white',
    width: 820,
    height: 72,
    mark: { type: 'bar', height: 13 },
    encoding: {
      row: {
        field: 'lock',
        sort: Object.keys(LOCKS),
        header: { title: null, labelAngle: 0, labelOrient: 'top', labelAnchor: 'start', labelFontSize: 13 },
      },
      x: {
        field: 'begin',
        type: 'quantitative',
        scale: { domain: [0, WINDOW_MS], clamp: true },
        axis: { title: 'ms', grid: false },
      },
      x2: { field: 'end' },
      y: { field: 'process', axis: { title: null } },
      color: { field: 'process', legend: null, scale: { scheme: 'tableau10' } },
    },
  });
  const svg = await new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG();
  // It travels in the package. A label of each bar is nothing that a reader could hear in a row.
  const plugins = ['preset-default', { name: 'removeAttrs', params: { attrs: 'path:(aria.*|class)' } }];
  return optimize(svg, { floatPrecision: 1, multipass: true, plugins }).data;
}

// What a call of runOnce costs where 1, 1 000 and 100 000 keys are known already: a new key (the function runs, and its
// outcome is flushed to the disk), and a known one. Ratios to the first row, in one run.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { runOnce } from 'fairlock/cluster';

const CALLS = Number(process.argv[2] ?? 200);
const folder = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), 'fairlock-once-'));

function known(file, count) {
  const outcomes = join(folder, `.${file}.fairlock-outcomes`);
  mkdirSync(outcomes);
  for (let i = 0; i < count; i++) {
    const key = `known ${i}`;
    const name = createHash('sha256').update(key).digest('hex').slice(0, 40);
    const entry = { format: 'fairlock-once 2', key, outcome: { done: true, value: i, at: Date.now() } };
    writeFileSync(join(outcomes, name), `${JSON.stringify(entry)}\n`);
  }
}

async function median(call) {
  const times = [];
  for (let i = 0; i < CALLS; i++) {
    const began = performance.now();
    await call(i);
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b)[CALLS >> 1];
}

const table = new Table({ head: ['keys', 'new key, ms', 'ratio', 'known key, ms', 'ratio'] });
let first;
for (const count of [1, 1_000, 100_000]) {
  const file = `lock-${count}`;
  known(file, count);
  const path = join(folder, file);
  await runOnce(path, () => 1, { key: 'warm' });
  const fresh = await median((i) => runOnce(path, () => i, { key: `fresh ${i}` }));
  const old = await median((i) => runOnce(path, () => i, { key: `known ${i % count}` }));
  first ??= { fresh, old };
  const ratio = (ms, to) => (ms / to).toFixed(2);
  table.push([count, fresh.toFixed(3), ratio(fresh, first.fresh), old.toFixed(3), ratio(old, first.old)]);
}
console.log(table.toString());
rmSync(folder, { recursive: true });

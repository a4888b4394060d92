// Contended: several processes want one lock all the time. Throughput, fairness and the longest wait of each strategy,
// in one run; and the throughput of the first 1 000 grants of each process, whose code is not compiled yet.
//   node scripts/bench/contended.mjs [--seconds 2] [--warm-up 4] [--processes 2,4,8,16] [--hold 100,2000] [--only C,fs-ext]
// `--warm-up`: seconds for each process, for they get ever fewer turns: while they compile, that takes their processors.
// `--only`: how the names of the strategies begin.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildBaseline, folder, here, machine, table } from './support.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    'warm-up': { type: 'string', default: '4' },
    processes: { type: 'string', default: '2,4,8,16' },
    hold: { type: 'string', default: '100,2000' },
    only: { type: 'string', default: '' },
  },
});
const baseline = buildBaseline();
const contender = (strategy) => [process.execPath, here('contender.mjs'), strategy];
const strategies = {
  'C, blocking flock': [baseline, 'flock'],
  'C, the fifo strategy': [baseline, 'fifo'],
  ...Object.fromEntries(
    ['fairlock kernel', 'fairlock fifo', 'fs-ext in the pool', 'fs-native-extensions', 'proper-lockfile'].map(
      (name) => [name, contender(name)],
    ),
  ),
};
const seconds = Number(values.seconds);
const only = values.only.split(',');
const FIRST = 1000;
let run = 0;

async function contend([command, ...args], processes, hold, warmUp) {
  const path = join(folder, `lock-${run++}`);
  const warm = Number(process.hrtime.bigint()) + 0.5e9 + processes * 0.15e9;
  const start = warm + warmUp * 1e9;
  const outputs = Array.from({ length: processes }, (_, i) => `${path}.out-${i}`);
  await Promise.all(
    outputs.map(async (out) => {
      const all = [...args, path, hold, warm, start, start + seconds * 1e9, out].map(String);
      const child = spawn(command, all, { stdio: ['ignore', 'inherit', 'inherit'] });
      const [code] = await once(child, 'exit');
      if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}`);
    }),
  );
  return outputs.map((out) => {
    const { buffer, byteOffset, byteLength } = readFileSync(out);
    return new Float64Array(buffer.slice(byteOffset, byteOffset + byteLength));
  });
}

/**
 * For one acquisition: how many requests made after it were served before it; the largest and how many are over the
 * bound.
 */
function measure(perProcess) {
  const grants = perProcess.flatMap((pairs) =>
    Array.from({ length: pairs.length / 2 }, (_, i) => ({ asked: pairs[2 * i], granted: pairs[2 * i + 1] })),
  );
  grants.sort((a, b) => a.granted - b.granted);
  let maxOvertaken = 0;
  let over = 0;
  let longestWait = 0;
  grants.forEach(({ asked, granted }, i) => {
    let overtaken = 0;
    for (let j = i - 1; j >= 0 && grants[j].granted > asked; j--) if (grants[j].asked > asked) overtaken++;
    maxOvertaken = Math.max(maxOvertaken, overtaken);
    if (overtaken > perProcess.length) over++;
    longestWait = Math.max(longestWait, granted - asked);
  });
  const counts = perProcess.map((pairs) => pairs.length / 2);
  const total = counts.reduce((a, b) => a + b, 0);
  const jain = total ** 2 / (counts.length * counts.reduce((sum, count) => sum + count ** 2, 0));
  return { perSecond: total / seconds, maxOvertaken, over, jain, longestWait };
}

/** Of processes that have just begun. */
function perSecondAtFirst(perProcess) {
  const rates = perProcess.map((pairs) => {
    const count = Math.min(FIRST, pairs.length / 2);
    return (1e9 * count) / (pairs[2 * count - 1] - pairs[0]);
  });
  return rates.reduce((a, b) => a + b, 0);
}

console.log(machine());
for (const hold of values.hold.split(',')) {
  for (const processes of values.processes.split(',').map(Number)) {
    const rows = [];
    let blocking;
    for (const [name, command] of Object.entries(strategies)) {
      if (!only.some((start) => name.startsWith(start))) continue;
      const warmUp = command[0] === baseline ? 1 : Number(values['warm-up']) * processes;
      const warm = await contend(command, processes, hold, warmUp);
      const { perSecond, maxOvertaken, over, jain, longestWait } = measure(warm);
      const atFirst = perSecondAtFirst(await contend(command, processes, hold, 0));
      blocking ??= perSecond;
      rows.push([
        name,
        perSecond.toFixed(0),
        `${((100 * perSecond) / blocking).toFixed(0)} %`,
        atFirst.toFixed(0),
        maxOvertaken,
        over,
        jain.toFixed(4),
        `${(longestWait / 1e6).toFixed(1)} ms`,
      ]);
    }
    console.log(`\n${processes} processes, ${hold} µs hold`);
    console.log(
      table(
        [
          '',
          'per second',
          'of C flock',
          `first ${FIRST}`,
          'max_overtaken',
          `over ${processes}`,
          'Jain',
          'longest wait',
        ],
        rows,
      ),
    );
  }
}

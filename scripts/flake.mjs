// npm run flake [-- --runs 30 --load 2 --disk --memory] [test files …]
// Runs the suite, or a part of it, many times, beside spinning processes, a busy disk or tight memory. The output of
// every run that fails is kept, and a table at the end says which tests failed how often.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '30' },
    /** So many processes that only spin. */
    load: { type: 'string', default: '0' },
    /** A process that writes and flushes all the time. */
    disk: { type: 'boolean', default: false },
    /** A process that takes and gives back a gigabyte. */
    memory: { type: 'boolean', default: false },
    /** Where the output of runs that failed is kept. */
    keep: { type: 'string', default: 'flakes' },
  },
});

const SPIN = 'for (;;);';
const DISK = `const { openSync, writeSync, fsyncSync } = require('fs'); const fd = openSync(process.argv[1], 'w');
  for (;;) { writeSync(fd, Buffer.alloc(1 << 20), 0, 1 << 20, 0); fsyncSync(fd); }`;
const MEMORY =
  'setInterval(() => { const all = []; for (let i = 0; i < 64; i++) all.push(Buffer.alloc(16 << 20, i)); }, 100);';

const scratch = mkdtempSync(join(tmpdir(), 'fairlock-flake-'));
const loads = [
  ...Array.from({ length: Number(values.load) }, () => ['-e', SPIN]),
  ...(values.disk ? [['-e', DISK, join(scratch, 'disk')]] : []),
  ...(values.memory ? [['-e', MEMORY]] : []),
].map((args) => spawn(process.execPath, args, { stdio: 'ignore' }));
process.on('exit', () => {
  for (const load of loads) load.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
const failures = new Map();
const runs = [];
for (let n = 1; n <= Number(values.runs); n++) {
  const report = join(scratch, `${n}.json`);
  const start = performance.now();
  const args = [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...files];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text) => {
      output += text;
    });
  const [code] = await once(child, 'close');
  const { testResults = [], numPassedTests = 0 } = readReport(report);
  const failed = testResults.flatMap(({ name, assertionResults, status }) => {
    const tests = assertionResults.filter((one) => one.status === 'failed').map(({ fullName }) => fullName);
    return (tests.length === 0 && status === 'failed' ? ['(the file)'] : tests).map(
      (test) => `${name.replace(/^.*\/test\//, '')} > ${test}`,
    );
  });
  if (code !== 0 && failed.length === 0) failed.push('(the run itself)');
  for (const test of failed) failures.set(test, [...(failures.get(test) ?? []), n]);
  const seconds = Math.round((performance.now() - start) / 1000);
  runs.push(seconds);
  console.log(`run ${n}: ${numPassedTests} passed, ${failed.length} failed, ${seconds} s`);
  if (failed.length === 0) continue;
  mkdirSync(values.keep, { recursive: true });
  writeFileSync(join(values.keep, `run-${n}.txt`), output);
}

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return {};
  }
}

const table = new Table({ head: ['test', 'failed', 'in runs'], style: { head: [], border: [] } });
for (const [test, where] of failures) table.push([test, `${where.length} of ${runs.length}`, where.join(', ')]);
if (failures.size > 0) console.log(`${table}\nthe output of these runs is in ${values.keep}/`);
console.log(
  `${runs.length} runs, ${failures.size} tests failed at least once; ${Math.min(...runs)} to ` +
    `${Math.max(...runs)} s a run`,
);
process.exit(failures.size > 0 ? 1 : 0);

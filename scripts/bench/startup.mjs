// How long commands take from their start to their end, beside an empty Node program, in turn.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { folder, machine, median, table } from './support.mjs';

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const lock = join(folder, 'lock');
writeFileSync(join(folder, 'empty.mjs'), '');
const programs = {
  'an empty Node program': [process.execPath, join(folder, 'empty.mjs')],
  'fairlock --version': [process.execPath, cli, '--version'],
  'fairlock run FILE -- true': [process.execPath, cli, 'run', lock, '--', 'true'],
  'fairlock run -o FILE -- true': [process.execPath, cli, 'run', '-o', lock, '--', 'true'],
  'fairlock status DIRECTORY': [process.execPath, cli, 'status', folder],
  'fairlock gc DIRECTORY': [process.execPath, cli, 'gc', folder],
  'flock FILE true': ['flock', lock, 'true'],
};
const times = Object.fromEntries(Object.keys(programs).map((name) => [name, []]));
for (let round = 0; round < 40; round++) {
  for (const [name, [command, ...args]] of Object.entries(programs)) {
    const began = performance.now();
    spawnSync(command, args);
    times[name].push(performance.now() - began);
  }
}
const empty = median(times['an empty Node program']);
console.log(machine());
console.log(
  table(
    ['', 'median ms', 'times empty'],
    Object.entries(times).map(([name, taken]) => [name, median(taken).toFixed(1), (median(taken) / empty).toFixed(2)]),
  ),
);

// What stays in memory while a command runs: of all processes that `fairlock run` has become, or has beside it.
const kept = [];
for (const options of [[], ['-o']]) {
  const running = spawn(process.execPath, [cli, 'run', ...options, lock, '--', 'sh', '-c', 'echo up; read line'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  await once(running.stdout, 'data');
  const { stdout } = spawnSync('ps', ['-o', 'rss=,args=', '-g', String(running.pid)], { encoding: 'utf8' });
  const lines = stdout.trim().split('\n');
  const total = lines.reduce((sum, line) => sum + Number.parseInt(line, 10), 0);
  kept.push([['fairlock run', ...options, 'FILE -- sh'].join(' '), String(lines.length), (total / 1024).toFixed(1)]);
  running.stdin.end();
  await once(running, 'exit');
}
console.log(table(['', 'processes', 'MB'], kept));

// How long commands take from their start to their end, beside an empty Node program, in turn.
import { spawnSync } from 'node:child_process';
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
  'fairlock run -F FILE -- true': [process.execPath, cli, 'run', '-F', lock, '--', 'true'],
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

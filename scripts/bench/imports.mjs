// What an import costs over an empty program, and what is installed, beside what users of locks import else, in turn.
//   npm install --no-save async-mutex@0.5 && node scripts/bench/imports.mjs
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packed } from '../packed.mjs';
import { folder, machine, quantile, table } from './support.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ROUNDS = 60;
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
const program = (name, text) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const PACKAGES = ['fairlock', 'async-mutex', 'fs-ext', 'proper-lockfile'];
// fairlock by its folder: the others are resolved in node_modules, which takes some tenths of a millisecond.
const entry = { fairlock: { mjs: join(root, 'dist/index.js'), cjs: join(root, 'dist/cjs/index.js') } };
const programs = {
  'empty, ESM': program('empty.mjs', ''),
  'empty, CommonJS': program('empty.cjs', ''),
};
for (const name of PACKAGES) {
  const from = (kind) => JSON.stringify(entry[name]?.[kind] ?? name);
  programs[`${name}, ESM`] = program(`${name}.mjs`, `import ${from('mjs')};`);
  programs[`${name}, CommonJS`] = program(`${name}.cjs`, `require(${from('cjs')});`);
}
const times = Object.fromEntries(Object.keys(programs).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, file] of Object.entries(programs)) {
    const began = performance.now();
    const { status, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${name}: ${stderr}`);
    times[name].push(performance.now() - began);
  }
}

/** Files and bytes of a package with what it depends on. */
function installed(name) {
  const seen = new Map();
  const add = (one) => {
    const where = join(root, 'node_modules', one);
    if (seen.has(one)) return;
    const files = readdirSync(where, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.slice(where.length).includes('node_modules'))
      .map((entry) => statSync(join(entry.parentPath, entry.name)).size);
    seen.set(one, files);
    const { dependencies = {} } = JSON.parse(readFileSync(join(where, 'package.json'), 'utf8'));
    for (const other of Object.keys(dependencies)) add(other);
  };
  if (name === 'fairlock') {
    seen.set(
      name,
      packed().files.map(({ size }) => size),
    );
    add('proper-lockfile');
  } else add(name);
  const sizes = [...seen.values()].flat();
  return [String(sizes.length), (sizes.reduce((sum, size) => sum + size, 0) / 1e6).toFixed(2)];
}

/** The tenth part that was fastest ends here: what else the machine does makes programs slower, never faster. */
const fast = (name) => quantile(times[name], 0.1);
const over = (name, kind) => (fast(`${name}, ${kind}`) - fast(`empty, ${kind}`)).toFixed(1);
console.log(
  `${machine()}; ms over an empty program (ESM ${fast('empty, ESM').toFixed(1)}, ` +
    `CommonJS ${fast('empty, CommonJS').toFixed(1)}), fastest tenth of ${ROUNDS}; with dependencies: files, MB`,
);
console.log(
  table(
    ['', 'ESM', 'CommonJS', 'files', 'MB'],
    PACKAGES.map((name) => [name, over(name, 'ESM'), over(name, 'CommonJS'), ...installed(name)]),
  ),
);

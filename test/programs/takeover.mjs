// Takes a stale lock folder with proper-lockfile, and stops where two that do so get in each other's way: after it
// has seen that the folder is stale. Goes on when it is told to.
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { takeoverFs } from '../../dist/internal/backends/lockfile/stale-takeover.js';

const lockfile = createRequire(import.meta.url)('proper-lockfile');
const [path, cured, pause] = process.argv.slice(2);
const cell = new Int32Array(new SharedArrayBuffer(4));
let paused = pause !== 'pause';

const { mkdirSync, rmdirSync, utimesSync, realpathSync } = fs;
const base = {
  mkdirSync,
  rmdirSync,
  utimesSync,
  realpathSync,
  statSync(...args) {
    const stat = fs.statSync(...args);
    if (!paused) {
      paused = true;
      fs.writeFileSync(`${path}.paused`, '');
      while (!fs.existsSync(`${path}.go`)) Atomics.wait(cell, 0, 0, 1);
    }
    return stat;
  },
};

try {
  lockfile.lockSync(path, { realpath: false, stale: 2000, fs: cured === 'cured' ? takeoverFs(2000, base) : base });
  console.log('held');
  process.stdin.resume(); // holds until it is killed
} catch (error) {
  console.log(error.code);
}

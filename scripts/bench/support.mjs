import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';

export const folder = mkdtempSync(join(tmpdir(), 'fairlock-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

export function here(name) {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** The baselines in C, built for this run. */
export function buildBaseline() {
  const binary = join(folder, 'baseline');
  execFileSync('cc', ['-O2', '-std=gnu11', '-D_GNU_SOURCE', here('baseline.c'), '-o', binary], { stdio: 'inherit' });
  return binary;
}

export function machine() {
  return `${cpus()[0].model.trim()}, ${cpus().length} cores, Linux ${release()}, Node ${process.version}`;
}

export function table(head, rows) {
  const drawn = new Table({ head, style: { head: [], border: [], compact: true } });
  drawn.push(...rows);
  return drawn.toString();
}

/** Milliseconds, of the clock that all processes share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function quantile(values, q) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * q)] ?? Number.NaN;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

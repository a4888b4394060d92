/** The package as it is published. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

const root = new URL('../../', import.meta.url).pathname;

export interface Packed {
  tarball: string;
  size: number;
  files: { path: string }[];
}

export function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

export function packInto(folder: string): Packed {
  const [{ filename, size, files }] = JSON.parse(
    npm(root, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder),
  );
  return { tarball: join(folder, filename), size, files };
}

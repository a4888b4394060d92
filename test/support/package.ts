/** The package as it is published. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.js';

export interface Packed {
  tarball: string;
  size: number;
  files: { path: string }[];
}

export function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Packages that this project does not have, from the registry, into a new folder. */
export function fetchInto(folder: string, ...names: string[]): void {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{}');
  npm(folder, 'install', '--no-save', '--ignore-scripts', ...names);
}

/** Makes this package, and others that this project has, importable in a folder. */
export function linkInto(folder: string, ...others: string[]): void {
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules/fairlock'));
  for (const name of others) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
}

export function packInto(folder: string): Packed {
  const said = JSON.parse(npm(root, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder)) as object;
  // A list of packages, and from npm 12 on an object of them.
  const [{ filename, size, files }] = Object.values(said) as [Omit<Packed, 'tarball'> & { filename: string }];
  return { tarball: join(folder, filename), size, files };
}

/** The addon's binary: how it is found and loaded. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../errors.js';
import { here, requireHere } from '../require.js';

/** Set by the build of the command line, whose one file lies in dist/cli. */
declare const FAIRLOCK_CLI: boolean | undefined;

/** The folder of the addon, in the package; undefined where this file was bundled into another program. */
function addonFolder(): string | undefined {
  if (typeof FAIRLOCK_CLI !== 'undefined') return fileURLToPath(new URL('../../native-fallback/', import.meta.url));
  // Never guessed from a bundle's own place: a file planted there would run with this program's rights.
  const own = /^(file:.*\/)(?:(?:src|dist\/cjs)\/native\/binary\.[jt]s|dist\/chunks\/fairlock-[A-Z0-9]+\.js)$/;
  const root = own.exec(import.meta.url ?? '')?.[1];
  return root === undefined ? undefined : fileURLToPath(new URL('native-fallback/', root));
}

/** The C library that the process runs on, as `glibc 2.36` or `musl`; undefined where the system does not tell. */
export function libc(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // Its look-ups of names take seconds on some machines.
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  if (before !== undefined) report.excludeNetwork = before;
  if (header === undefined) return undefined;
  // glibc's version is in the report where the process runs on glibc; there is none on musl.
  return header.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`;
}

/** Whether the running program was linked with musl, by the name of its loader: asking for the report takes 10 ms. */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    const fd = openSync(process.execPath, 'r');
    try {
      const start = Buffer.alloc(4096);
      readSync(fd, start, 0, start.length, 0);
      const loader = /\/(ld-musl|ld-linux|ld64)/.exec(start.toString('latin1'))?.[1];
      if (loader !== undefined) return loader === 'ld-musl';
    } finally {
      closeSync(fd);
    }
  } catch {
    // Not to be read.
  }
  return libc() === 'musl';
}

/** Your own build first, then the one that was built for this system and C library. */
function candidates(folder: string): string[] {
  const name = `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}`;
  return [join(folder, 'build', 'Release', 'fairlock.node'), join(folder, 'prebuilds', `${name}.node`)];
}

/** By `setNativeBinding`. */
let named: string | undefined;
let isAskedFor = false;

/** @throws {Error} it was looked for already */
export function nameBinary(path: string): void {
  if (isAskedFor && path !== named)
    throw new Error(`will not load '${path}': the addon was looked for already, by the first lock`);
  named = path;
}

/** What the binary exports. @throws with what was tried */
export function loadBinary(): unknown {
  isAskedFor = true;
  if (named !== undefined) return requireHere(named);
  const folder = addonFolder();
  if (folder === undefined) {
    throw new Error(
      `fairlock was bundled into ${here}, so its addon cannot be found: ` +
        "mark 'fairlock' as external in your bundler, or name the binary by setNativeBinding()",
    );
  }
  const tried: string[] = [];
  for (const file of candidates(folder)) {
    try {
      return requireHere(file);
    } catch (error) {
      tried.push(`${file}: ${messageOf(error).split('\n')[0]}`);
    }
  }
  throw new Error(`no binary for ${process.platform}-${process.arch} loads; tried ${tried.join('; ')}`);
}

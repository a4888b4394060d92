/** The addon's binary: how it is found and loaded. */
import { closeSync, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../errors.js';
import { quietly } from '../quietly.js';
import { here, requireHere } from '../require.js';
import { prebuilt } from './prebuilt.js';

/** The folder of the package, as a URL; undefined where this file was bundled into another program. */
function packageFolder(): string | undefined {
  // Never guessed from a bundle's own place: a file planted there would run with this program's rights.
  const own = /^(.*\/)(?:src\/require\.[jt]s|dist\/(?:cjs\/)?chunks\/fairlock-core\.js|dist\/cli\/(?:main|parts)\.js)$/;
  return own.exec(here)?.[1];
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
  const loader = quietly(() => {
    const fd = openSync(process.execPath, 'r');
    try {
      const start = Buffer.alloc(4096);
      readSync(fd, start, 0, start.length, 0);
      return /\/(ld-musl|ld-linux|ld64)/.exec(start.toString('latin1'))?.[1];
    } finally {
      closeSync(fd);
    }
  });
  return loader === undefined ? libc() === 'musl' : loader === 'ld-musl';
}

/** Your own build first, then the one that was built for this system and C library. Empty: nothing that may be trusted. */
function candidates(): string[] {
  const name = `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}`;
  const folder = packageFolder();
  if (folder !== undefined) {
    const files = ['build/Release/fairlock.node', `prebuilds/${name}.node`];
    return files.map((file) => fileURLToPath(new URL(`native-fallback/${file}`, folder)));
  }
  const url = prebuilt(name);
  return url !== undefined && isCopy(url, name) ? [fileURLToPath(url)] : [];
}

/**
 * Whether a bundler has put a copy of the binary there. Where it has left the URL as it was, this file lies elsewhere now,
 * and any user may have put a file at the place that it names from here: two folders above the bundle.
 */
function isCopy(url: URL, name: string): boolean {
  if (url.protocol !== 'file:') return false;
  const isRenamed = !url.pathname.endsWith(`/native-fallback/prebuilds/${name}.node`);
  return isRenamed || url.href.startsWith(new URL('.', here).href);
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
  const files = candidates();
  if (files.length === 0) {
    throw new Error(
      `fairlock was bundled into ${here}, so its addon cannot be found: ` +
        "mark 'fairlock' as external in your bundler, or name the binary by setNativeBinding()",
    );
  }
  const tried: string[] = [];
  for (const file of files) {
    try {
      return requireHere(file);
    } catch (error) {
      tried.push(`${file}: ${messageOf(error).split('\n')[0]}`);
    }
  }
  throw new Error(`no binary for ${process.platform}-${process.arch} loads; tried ${tried.join('; ')}`);
}

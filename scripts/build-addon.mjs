// Builds native-fallback with node-gyp, and lays the binary into native-fallback/prebuilds, where it travels with the
// package. Without a compiler nothing is built and nothing fails: the library works without the addon.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../native-fallback', import.meta.url));
const built = join(folder, 'build', 'Release', 'fairlock.node');

function isUpToDate() {
  const sources = [
    join(folder, 'binding.gyp'),
    ...readdirSync(join(folder, 'src')).map((name) => join(folder, 'src', name)),
  ];
  return existsSync(built) && sources.every((source) => statSync(source).mtimeMs <= statSync(built).mtimeMs);
}

function isMusl() {
  return process.platform === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** Node's own headers, where they are installed beside it: saves node-gyp the download. */
function headers() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

function build() {
  const nodeGyp = join(dirname(createRequire(import.meta.url).resolve('node-gyp/package.json')), 'bin', 'node-gyp.js');
  return spawnSync(process.execPath, [nodeGyp, 'rebuild', '--directory', folder, '--loglevel', 'warn', ...headers()], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
}

if (process.platform === 'win32') process.exit(0);
if (!isUpToDate()) {
  const { status, stderr } = build();
  if (status !== 0) {
    console.error(`${stderr}\nfairlock: the addon was not built. Everything works without it, but waits are polled.`);
    process.exit(0);
  }
}
mkdirSync(join(folder, 'prebuilds'), { recursive: true });
const target = join(folder, 'prebuilds', `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}.node`);
copyFileSync(built, `${target}.new`);
renameSync(`${target}.new`, target); // never written in place: a running process has it mapped

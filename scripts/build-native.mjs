// Compiles what is native: the addon, whose binary is laid into native-fallback/prebuilds, where it travels with the
// package, and fs-ext, which tests want (`npm ci` runs no scripts of packages: see .npmrc). Where it cannot be compiled it
// says why, and nothing fails: the library works without either.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { resolve } = createRequire(import.meta.url);
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

function pathOf(name) {
  try {
    return dirname(resolve(`${name}/package.json`));
  } catch {
    return undefined; // Not installed.
  }
}

/** Whether it was compiled. */
function compile(what, directory, without) {
  const nodeGyp = pathOf('node-gyp');
  const { status, stderr = '' } =
    nodeGyp === undefined
      ? { status: 1, stderr: 'node-gyp is not installed' }
      : spawnSync(
          process.execPath,
          [join(nodeGyp, 'bin', 'node-gyp.js'), 'rebuild', '--directory', directory, ...headers()],
          // `npm run --silent` would have it say nothing of what is wrong.
          {
            // Segments beside each other, without pages of nothing between them: the binary travels in the package.
            env: {
              ...(process.platform === 'linux' && { LDFLAGS: '-Wl,-z,noseparate-code' }),
              ...process.env,
              npm_config_loglevel: 'warn',
            },
            stdio: ['ignore', 'ignore', 'pipe'],
            encoding: 'utf8',
          },
        );
  if (status === 0) return true;
  const reason = /^.*(?:Error: |error: |not found|not installed).*$/m.exec(stderr)?.[0] ?? stderr.split('\n')[0];
  console.error(`fairlock: ${what} was not compiled (${reason.trim()}). ${without}`);
  return false;
}

/** It is compiled for one version of Node, and says no to others. */
function loads(name) {
  return spawnSync(process.execPath, ['-e', `require(${JSON.stringify(name)})`], { cwd: folder }).status === 0;
}

if (process.platform === 'win32') process.exit(0);
const fsExt = pathOf('fs-ext');
if (fsExt !== undefined && !loads('fs-ext')) compile('fs-ext', fsExt, 'The addon does its part.');
if (isUpToDate() || compile('the addon', folder, 'Everything works without it, but waits are polled.')) {
  mkdirSync(join(folder, 'prebuilds'), { recursive: true });
  const target = join(folder, 'prebuilds', `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}.node`);
  copyFileSync(built, `${target}.new`);
  renameSync(`${target}.new`, target); // never written in place: a running process has it mapped
}

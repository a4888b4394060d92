// What a program pays for this package: files and bytes on its disk, and the parts of Node that an import loads.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { packed } from './packed.mjs';

// string_decoder: Node's own, to read a module.
const LIMITS = { files: 120, bytes: 1_500_000, builtins: ['diagnostics_channel', 'module', 'string_decoder'] };

const root = fileURLToPath(new URL('..', import.meta.url));
function output(program, ...args) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The public modules of Node that are loaded after `load` and were not before. */
function builtinsOf(type, load) {
  const loaded = 'new Set(process.moduleLoadList.map((one) => /^NativeModule ((?!internal).+)/.exec(one)?.[1]))';
  const text = `const before = ${loaded}; ${load}; console.log([...${loaded}].filter((one) => one && !before.has(one)).join(' '))`;
  return output(process.execPath, `--input-type=${type}`, '-e', text).trim().split(' ').filter(Boolean);
}

const { files, unpackedSize } = packed();
const used = {
  files: files.length,
  bytes: unpackedSize,
  'builtins (ESM)': builtinsOf('module', "await import('fairlock')"),
  'builtins (CommonJS)': builtinsOf('commonjs', "require('fairlock')"),
};
console.log(JSON.stringify(used));
const tooMany = (names) => names.filter((name) => !LIMITS.builtins.includes(name)).length > 0;
if (
  used.files > LIMITS.files ||
  used.bytes > LIMITS.bytes ||
  tooMany(used['builtins (ESM)']) ||
  tooMany(used['builtins (CommonJS)'])
) {
  console.error(`over the limits: ${JSON.stringify(LIMITS)}`);
  process.exit(1);
}

// The library in dist, as ES modules and as CommonJS, and its types (which tsc has made of each source).
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';

const root = fileURLToPath(new URL('..', import.meta.url));
const [source, dist] = [join(root, 'src'), join(root, 'dist')];
const types = join(root, 'build', 'types');
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const doors = Object.keys(exports)
  .filter((name) => !/package.json|prebuilds/.test(name))
  .map((name) => join(name, 'index'));
// What tests and benchmarks look at from inside; not in the package.
const forTests = [
  'native/addon',
  'inspect/remove-unused',
  'backends/lockfile/stale-takeover',
  'etcd/connection',
  'etcd/watcher',
];
// What the command line has of the library, beside `fairlock` itself (build-cli.mjs).
const forCommand = ['errors', 'inspect/index', 'printable'];
const external = (id) => !/^[./]/.test(id);
const fail = ({ message }) => {
  throw new Error(message);
};

const typescript = {
  name: 'typescript',
  resolveId(id, from) {
    if (from === undefined || external(id)) return null;
    const file = join(dirname(from), id.replace(/\.js$/, '.ts'));
    return existsSync(file) ? file : null;
  },
  transform: async (code, id) => {
    const text = id.endsWith('/redis/scripts.ts') ? withoutLuaComments(code) : code;
    return (await transform(text, { loader: 'ts', target: 'node20', sourcefile: id })).code;
  },
  // Without its white space Node reads it in two thirds of the time. Names and lines stay: Node shows both of an error.
  renderChunk: async (code) =>
    (await transform(code, { minifyWhitespace: true, lineLimit: 200, target: 'node20' })).code,
};

/** They and the indentation are inside of texts, where esbuild leaves them. */
function withoutLuaComments(code) {
  return code.replace(/^\s*--.*\n/gm, '').replace(/^\s+/gm, '');
}

/**
 * One file for each door, one for what `fairlock` itself is made of, which all of them share, and a few for what some of
 * them share: Node reads those in a fraction of the time that it takes for each source on its own.
 */
async function bundle(inside, names, output) {
  const graph = await rollup({
    input: {
      ...Object.fromEntries(doors.map((name) => [name, join(source, `${name}.ts`)])),
      ...Object.fromEntries(names.map((name) => [join(inside, name), join(source, `${name}.ts`)])),
    },
    plugins: [typescript],
    external,
    onwarn: fail,
  });
  const core = new Set();
  const collect = (id) => {
    if (core.has(id) || external(id)) return;
    core.add(id);
    for (const one of graph.cache.modules.find((one) => one.id === id).dependencies) collect(one);
  };
  collect(join(source, 'index.ts'));
  const { output: files } = await graph.write({
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/fairlock-[name].js',
    manualChunks: (id) => {
      if (id.endsWith('/index.ts')) return undefined;
      // ncc's parser knows less of the language than the rest is written in, and looks for files in what it can read.
      if (output.format === 'cjs' && id.endsWith('prebuilt.ts')) return 'prebuilt';
      if (core.has(id)) return 'core';
      return /\/src\/(engine|etcd)\//.exec(id)?.[1];
    },
    hoistTransitiveImports: false,
    ...output,
  });
  for (const { fileName, imports } of files)
    if (!fileName.startsWith(inside) && imports.some((one) => one.startsWith(inside)))
      throw new Error(`${fileName} is in the package, and needs ${imports.join(', ')}`);
}

/**
 * An `import` of node:fs makes Node look at all of its exports, which loads streams and promises: 3 ms of 10. So each is
 * asked of the process, and of `require` where Node is older than 20.16.
 */
const builtins = {
  name: 'builtins',
  renderChunk: {
    order: 'pre',
    handler(code) {
      const imported = /^import (?:\* as )?(?:(\w+)(?:, )?)?(?:(\{.*\}))? ?from '(node:[\w/]+)';$/gm;
      const asked = code.replace(/^import 'node:[\w/]+';\n/gm, '').replace(imported, (_line, whole, some, name) => {
        const names = [whole, some?.replaceAll(' as ', ': ')].filter(Boolean);
        return names.map((one) => `const ${one} = builtin('${name}');`).join('\n');
      });
      if (asked === code) return null;
      // By its object: webpack and rspack replace a createRequire that is imported by its name.
      const how = "import nodeModule from 'node:module';";
      return `${how}\nconst builtin = process.getBuiltinModule ?? nodeModule.createRequire(import.meta.url);\n${asked}`;
    },
  },
};
/** In CommonJS: __dirname for `import.meta.url`, and `require`, in the words that bundlers and collectors of files know. */
const moduleUrl = 'require("node:url").pathToFileURL(__filename).href';
const paths = {
  name: 'paths',
  resolveImportMeta: (property) => (property === 'url' ? moduleUrl : null),
  renderChunk: {
    order: 'pre',
    handler(code) {
      const files = code
        .replaceAll(`, ${moduleUrl})`, '))')
        .replaceAll('new URL("../../', 'pathToFileURL(join(__dirname, "../../../');
      const how = 'const { join } = require("node:path");\nconst { pathToFileURL } = require("node:url");\n';
      const packages = /(?:core\.)?\brequireHere\("(pg|proper-lockfile|@grpc\/grpc-js)"\)/g;
      return (files === code ? code : how + files).replaceAll(packages, 'require("$1")');
    },
  },
};

rmSync(dist, { recursive: true, force: true });
await bundle('internal', forTests, { dir: dist, format: 'es', plugins: [builtins] });
await bundle('for-cli', forCommand, { dir: join(dist, 'cjs'), format: 'cjs', interop: 'auto', plugins: [paths] });
writeFileSync(join(dist, 'cjs', 'package.json'), '{ "type": "commonjs" }\n');

// The same types twice: as ES modules, and as CommonJS by the package.json beside them.
const declarations = await rollup({
  input: Object.fromEntries(doors.map((name) => [name, join(types, `${name}.d.ts`)])),
  plugins: [dts({ tsconfig: join(root, 'tsconfig.json') })],
  external,
  onwarn: ({ message, plugin, code }) => {
    // Types that a door names without exporting them: as before.
    if (plugin !== 'dts' && code !== 'UNRESOLVED_IMPORT') throw new Error(message);
  },
});
for (const dir of [dist, join(dist, 'cjs')]) {
  await declarations.write({
    dir,
    entryFileNames: '[name].d.ts',
    chunkFileNames: ({ name }) => `chunks/fairlock-${name.replace(/\.d$/, '')}.d.ts`,
  });
}
rmSync(types, { recursive: true });

// Bundles the command line, its libraries included, into dist/cli, so that the package needs no dependency for it. What
// `fairlock run` needs is one file of CommonJS, main.js, which Node starts in the least time; what it imports only when
// that is needed (`import()`), and all other commands, are in a second one. The licences of what is included go along.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const outdir = join(root, 'dist', 'cli');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(outdir, { recursive: true, force: true });
const common = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  lineLimit: 500, // Node shows the line of an error.
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['fs-ext', 'proper-lockfile'],
  define: {
    FAIRLOCK_VERSION: JSON.stringify(version),
    'import.meta.url': '__moduleUrl',
  },
  banner: { js: "const __moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
  metafile: true,
};
const partsAreElsewhere = {
  name: 'parts',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\// }, ({ kind, path }) =>
      kind === 'dynamic-import' && path !== './run.js' ? { path: './parts.js', external: true } : undefined,
    );
  },
};
/** The library is in the package already. */
const libraryIsElsewhere = {
  name: 'library',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\./ }, ({ path, importer }) => {
      const file = relative(join(root, 'src'), join(dirname(importer), path));
      if (file === 'index.js') return { path: '../cjs/index.js', external: true };
      const isThere = existsSync(join(root, 'dist', 'cjs', 'for-cli', file));
      return isThere ? { path: `../cjs/for-cli/${file}`, external: true } : undefined;
    });
  },
};
const builds = [
  await build({
    ...common,
    entryPoints: { main: 'src/cli/main.ts' },
    outdir,
    plugins: [partsAreElsewhere],
    supported: { 'dynamic-import': false }, // require() takes less time
  }),
  await build({
    ...common,
    entryPoints: { parts: 'src/cli/parts.ts' },
    outdir,
    plugins: [libraryIsElsewhere],
  }),
  await build({ ...common, entryPoints: { 'trace-hook': 'src/cli/trace-hook.ts' }, outdir }),
];
// The page of `fairlock trace` has this and the data of the trace in it.
builds.push(
  await build({
    absWorkingDir: root,
    entryPoints: { 'trace-view': 'src/cli/trace-view/main.ts' },
    outdir,
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    metafile: true,
  }),
  await build({
    absWorkingDir: root,
    stdin: {
      contents: "@import 'uplot/dist/uPlot.min.css'; @import './style.css';",
      loader: 'css',
      resolveDir: join(root, 'src/cli/trace-view'),
    },
    outfile: join(outdir, 'trace-view.css'),
    bundle: true,
    minify: true,
    metafile: true,
  }),
);
writeFileSync(join(outdir, 'package.json'), '{ "type": "commonjs" }\n');

const included = new Set(
  builds
    .flatMap(({ metafile }) => Object.keys(metafile.inputs))
    .flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
);
const licences = [...included].sort().map((folder) => {
  const file = readdirSync(join(root, folder)).find((name) => /^licen[cs]e/i.test(name));
  if (file === undefined) throw new Error(`${folder}: no licence`);
  return `${folder.replace(/^.*node_modules\//, '')}\n\n${readFileSync(join(root, folder, file), 'utf8')}`;
});
writeFileSync(join(outdir, 'LICENSES.txt'), licences.join(`\n${'-'.repeat(72)}\n\n`));

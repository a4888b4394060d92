// The CommonJS build, beside the ESM one in dist: each file on its own, so that the subpath exports share what they
// share in the ESM build. The types are the same files, read as CommonJS by the package.json beside them.
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [dist, outdir] = [join(root, 'dist'), join(root, 'dist', 'cjs')];

rmSync(outdir, { recursive: true, force: true });
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
await build({
  absWorkingDir: root,
  entryPoints: sources
    .filter((file) => file.endsWith('.ts') && !file.startsWith('cli'))
    .map((file) => join('src', file)),
  outdir,
  outbase: 'src',
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  define: { 'import.meta.url': '__moduleUrl' },
  banner: { js: "const __moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
});
for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
  if (file.endsWith('.d.ts') && !file.startsWith('cjs') && !file.startsWith('cli'))
    cpSync(join(dist, file), join(outdir, file));
}
writeFileSync(join(outdir, 'package.json'), '{ "type": "commonjs" }\n');

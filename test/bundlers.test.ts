/** Programs that are bundled: with fairlock beside them, with the addon's binary carried along, and with neither. */
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasParking } from './support/capabilities.js';
import { fetchInto, linkInto, packInto } from './support/package.js';
import { testFolder } from './support/paths.js';
import { run } from './support/programs.js';
import { isSoak } from './support/scale.js';

const { folder, path } = testFolder();
const binary = `${process.platform}-${process.arch}.node`;

const tell = (load: string) => `
  ${load}
  const lock = new InterProcessLock(process.argv[2]);
  lock.withLock(() => console.log(JSON.stringify([lock.inspect().layers.wait, layers()['native-fallback'].reason])));`;
const IMPORT = tell("import { InterProcessLock, layers } from 'fairlock';");
const REQUIRE = tell("const { InterProcessLock, layers } = require('fairlock');");
const CARRIED = tell(`
  import { InterProcessLock, layers, setNativeBinding } from 'fairlock';
  import binary from 'fairlock/prebuilds/${binary}';
  import { join } from 'node:path';
  setNativeBinding(join(import.meta.dirname ?? __dirname, binary));`);

const NATIVE = ['native-fallback', null];
const WITHOUT = ['poll', expect.stringMatching(/was bundled into file:.*mark 'fairlock' as external/)];

/** What the bundle tells; run without native layers of its own folder but those it finds itself. */
async function told(bundle: string): Promise<unknown> {
  const { stdout, stderr } = await run(process.execPath, [bundle, path()], {
    FAIRLOCK_DISABLE: 'fs-ext',
    NODE_NO_WARNINGS: '1',
  });
  return stdout === '' ? stderr : JSON.parse(stdout);
}

describe.runIf(hasParking)('esbuild', () => {
  async function bundled(text: string, options: BuildOptions): Promise<string> {
    const where = path();
    linkInto(where, 'proper-lockfile');
    writeFileSync(join(where, 'program.js'), text);
    const outfile = join(where, options.format === 'cjs' ? 'bundle.cjs' : 'bundle.mjs');
    const entryPoints = [join(where, 'program.js')];
    const { warnings } = await build({
      entryPoints,
      outfile,
      bundle: true,
      platform: 'node',
      logLevel: 'silent',
      ...options,
    });
    expect(warnings.filter(({ id }) => id !== 'empty-import-meta')).toEqual([]);
    return outfile;
  }

  it.each([
    ['left out', IMPORT, { format: 'esm', external: ['fairlock'] }, NATIVE],
    ['left out, as CommonJS', IMPORT, { format: 'cjs', external: ['fairlock'] }, NATIVE],
    ['bundled', IMPORT, { format: 'esm' }, WITHOUT],
    ['bundled, as CommonJS', IMPORT, { format: 'cjs' }, WITHOUT],
    ['required and bundled', REQUIRE, { format: 'cjs' }, WITHOUT],
    ['bundled with its binary, as CommonJS', CARRIED, { format: 'cjs', loader: { '.node': 'file' } }, NATIVE],
  ] as [string, string, BuildOptions, unknown][])('%s', async (_what, text, options, expected) => {
    expect(await told(await bundled(text, options))).toEqual(expected);
  });

  it('bundled and carried away from its packages, it names the cure', async () => {
    const outfile = await bundled(IMPORT, { format: 'esm' });
    rmSync(join(dirname(outfile), 'node_modules', 'proper-lockfile'));
    const { code, stderr } = await run(process.execPath, ['--no-warnings', outfile, path()], {
      FAIRLOCK_DISABLE: 'fs-ext',
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/proper-lockfile cannot be loaded from .*mark 'fairlock' as external/);
  });
});

// They are not installed with this project: the soak gets them from the registry.
describe.runIf(isSoak && hasParking)('others', () => {
  const tools = join(folder, 'tools');
  const script = (name: string, text: string): string => {
    writeFileSync(join(tools, name), text);
    return join(tools, name);
  };

  beforeAll(() => {
    const names = ['webpack@5', '@rspack/core@1', 'rollup@4', '@vercel/nft@1', '@vercel/ncc@0.38'];
    const plugins = ['@rollup/plugin-node-resolve@16', '@rollup/plugin-commonjs@29'];
    fetchInto(tools, packInto(folder).tarball, ...names, ...plugins);
    writeFileSync(join(tools, 'import.mjs'), IMPORT);
    writeFileSync(join(tools, 'require.cjs'), REQUIRE);
  }, 300_000);

  it.each([
    ['webpack', 'external'],
    ['webpack', 'bundled'],
    ['@rspack/core', 'external'],
    ['@rspack/core', 'bundled'],
  ])('%s, %s', async (name, kind) => {
    const filename = `${name.length}-${kind}.cjs`;
    const settings = {
      ...{ mode: 'production', target: 'node', entry: join(tools, 'require.cjs') },
      output: { path: join(tools, 'out'), filename },
      externals: kind === 'external' ? { fairlock: 'commonjs fairlock' } : {},
    };
    const bundle = script(
      `${name.length}-${kind}.mjs`,
      `import { createRequire } from 'node:module';
       const tool = createRequire(import.meta.url)('${name}');
       (tool.rspack ?? tool)(${JSON.stringify(settings)}, (error, stats) => {
         const problems = error ?? stats.toString({ all: false, errors: true, warnings: true });
         if (String(problems).trim() !== '') console.error(String(problems));
       });`,
    );
    expect(await run(process.execPath, [bundle], {}, tools)).toMatchObject({ code: 0, stderr: '' });
    expect(await told(join(tools, 'out', filename))).toEqual(kind === 'external' ? NATIVE : WITHOUT);
  });

  it.each([
    ['external', ['--external', 'fairlock'], NATIVE],
    ['bundled', ['-p', 'node-resolve', '-p', 'commonjs'], WITHOUT],
  ])('rollup, %s', async (kind, flags, expected) => {
    const out = join(tools, 'out', `rollup-${kind}.mjs`);
    const rollup = join(tools, 'node_modules', '.bin', 'rollup');
    expect((await run(rollup, ['import.mjs', ...flags, '-f', 'es', '-o', out], {}, tools)).code).toBe(0);
    expect(await told(out)).toEqual(expected);
  });

  it('@vercel/nft finds the binary', async () => {
    const trace = script(
      'trace.mjs',
      `import { nodeFileTrace } from '@vercel/nft';
       const { fileList } = await nodeFileTrace(['import.mjs', 'require.cjs'], { base: process.cwd() });
       console.log([...fileList].filter((file) => file.endsWith('.node')).join());`,
    );
    expect((await run(process.execPath, [trace], {}, tools)).stdout).toContain(`native-fallback/prebuilds/${binary}`);
  });

  it('ncc', async () => {
    const ncc = join(tools, 'node_modules', '.bin', 'ncc');
    expect((await run(ncc, ['build', 'require.cjs', '-o', 'out/ncc', '-q'], {}, tools)).code).toBe(0);
    expect(await told(join(tools, 'out', 'ncc', 'index.cjs'))).toEqual(WITHOUT);
  });
});

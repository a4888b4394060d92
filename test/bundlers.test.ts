/** Programs that are bundled: with fairlock beside them, with the addon's binary carried along, and with neither. */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasParking } from './support/capabilities.js';
import { fetchInto, linkInto, packInto } from './support/package.js';
import { testFolder } from './support/paths.js';
import { program, run } from './support/programs.js';
import { isSoak, some } from './support/scale.js';
import { freePort } from './support/servers.js';
import { until } from './support/waiting.js';

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
  const tool = (name: string, ...args: string[]) => run(join(tools, 'node_modules', '.bin', name), args, {}, tools);
  /** What the program says where nothing is but the files that the bundler has made. */
  const toldElsewhere = async (where: string, file: string): Promise<unknown> => {
    const away = path();
    cpSync(join(tools, 'out', where), away, { recursive: true });
    return told(join(away, file));
  };
  const NAMES_THE_CURE = expect.stringMatching(
    /proper-lockfile cannot be loaded from .*mark 'fairlock' as external in your bundler/,
  );

  beforeAll(() => {
    const names = ['webpack@5', '@rspack/core@2', 'rollup@4', 'rolldown@1', '@vercel/nft@1', '@vercel/ncc@0.45'];
    const plugins = ['@rollup/plugin-node-resolve@16', '@rollup/plugin-commonjs@29', 'postject@1.0.0-alpha.6'];
    fetchInto(tools, packInto(folder).tarball, ...names, ...plugins);
    writeFileSync(join(tools, 'import.mjs'), IMPORT);
    writeFileSync(join(tools, 'require.cjs'), REQUIRE);
  }, 300_000);

  describe.each(['webpack', '@rspack/core'])('%s', (name) => {
    it.each([
      ['import.mjs', 'cjs', 'external', NATIVE],
      ['require.cjs', 'cjs', 'external', NATIVE],
      ['import.mjs', 'cjs', 'bundled', NATIVE],
      ['import.mjs', 'mjs', 'bundled', NATIVE],
      ['require.cjs', 'cjs', 'bundled', WITHOUT],
    ])('%s to %s, %s', async (entry, format, kind, expected) => {
      const id = [name.length, entry, format, kind].join('-');
      const out = join(tools, 'out', id);
      const asModule = format === 'mjs' && { module: true, chunkFormat: 'module' };
      const settings = {
        ...{ mode: 'production', target: 'node', entry: join(tools, entry), experiments: { outputModule: !!asModule } },
        output: { path: out, filename: `bundle.${format}`, ...asModule },
        externals: kind === 'external' ? { fairlock: 'commonjs fairlock' } : {},
      };
      const bundle = script(
        `${id}.mjs`,
        `import { createRequire } from 'node:module';
         const tool = createRequire(import.meta.url)('${name}');
         (tool.rspack ?? tool)(${JSON.stringify(settings)}, (error, stats) => {
           const problems = error ?? stats.toString({ all: false, errors: true, warnings: true });
           if (String(problems).trim() !== '') console.error(String(problems));
         });`,
      );
      expect(await run(process.execPath, [bundle], {}, tools)).toMatchObject({ code: 0, stderr: '' });
      // Left out, it must be beside the bundle.
      const seen = kind === 'external' ? told(join(out, `bundle.${format}`)) : toldElsewhere(id, `bundle.${format}`);
      expect(await seen).toEqual(expected);
    });
  });

  it('webpack that leaves URLs as they are: the path on the machine that built is not looked at', async () => {
    const settings = {
      ...{ mode: 'production', target: 'node', entry: join(tools, 'import.mjs') },
      output: { path: join(tools, 'out', 'urls'), filename: 'bundle.cjs' },
      module: { parser: { javascript: { url: false } } },
    };
    const bundle = script(
      'urls.mjs',
      `import { createRequire } from 'node:module';
       createRequire(import.meta.url)('webpack')(${JSON.stringify(settings)}, () => {});`,
    );
    expect((await run(process.execPath, [bundle], {}, tools)).code).toBe(0);
    // There the binary is: the test's own folder built the bundle.
    expect(readFileSync(join(tools, 'out', 'urls', 'bundle.cjs'), 'utf8')).toContain(`file://${tools}`);
    expect(await toldElsewhere('urls', 'bundle.cjs')).toEqual(NAMES_THE_CURE);
  });

  it.each([
    ['external', ['--external', 'fairlock'], NATIVE],
    ['bundled', ['-p', 'node-resolve', '-p', 'commonjs'], WITHOUT],
  ])('rollup, %s', async (kind, flags, expected) => {
    const out = join(tools, 'out', `rollup-${kind}.mjs`);
    expect((await tool('rollup', 'import.mjs', ...flags, '-f', 'es', '-o', out)).code).toBe(0);
    expect(await told(out)).toEqual(expected);
  });

  it('rolldown, bundled and carried away', async () => {
    expect((await tool('rolldown', 'import.mjs', '--platform', 'node', '-d', 'out/rolldown')).code).toBe(0);
    expect(await toldElsewhere('rolldown', 'import.js')).toEqual(NAMES_THE_CURE);
  });

  it('@vercel/nft finds the binaries and proper-lockfile', async () => {
    const trace = script(
      'trace.mjs',
      `import { nodeFileTrace } from '@vercel/nft';
       for (const file of ['import.mjs', 'require.cjs']) {
         const { fileList } = await nodeFileTrace([file], { base: process.cwd() });
         console.log([...fileList].filter((one) => /\\.node$|proper-lockfile\\/index/.test(one)).sort().join(' '));
       }`,
    );
    const { stdout } = await run(process.execPath, [trace], {}, tools);
    const [fromImport, fromRequire] = stdout.trim().split('\n');
    expect(fromImport).toContain(`native-fallback/prebuilds/${binary}`);
    expect(fromImport).toContain('proper-lockfile/index.js');
    expect(fromRequire).toBe(fromImport);
  });

  it('ncc, from CommonJS', async () => {
    expect((await tool('ncc', 'build', 'require.cjs', '-o', 'out/ncc', '-q')).code).toBe(0);
    expect(await toldElsewhere('ncc', 'index.cjs')).toEqual(NATIVE);
  });

  it('a single executable with the binary as its asset', async () => {
    const where = path();
    mkdirSync(where);
    await build({
      stdin: { contents: readFileSync(program('single-executable.cjs'), 'utf8'), resolveDir: tools },
      outfile: join(where, 'main.cjs'),
      bundle: true,
      platform: 'node',
    });
    const assets = { 'fairlock.node': join(tools, 'node_modules/fairlock/native-fallback/prebuilds', binary) };
    const config = { main: 'main.cjs', output: 'main.blob', disableExperimentalSEAWarning: true, assets };
    writeFileSync(join(where, 'sea.json'), JSON.stringify(config));
    const made = await run(process.execPath, ['--experimental-sea-config', 'sea.json'], {}, where);
    expect(made.code, made.stderr).toBe(0);
    cpSync(process.execPath, join(where, 'program'), { dereference: true });
    const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';
    const blob = join(where, 'main.blob');
    const injected = await tool('postject', join(where, 'program'), 'NODE_SEA_BLOB', blob, '--sentinel-fuse', fuse);
    expect(injected.code, injected.stderr).toBe(0);
    const { stdout } = await run(join(where, 'program'), [path()], { FAIRLOCK_DISABLE: 'fs-ext' });
    expect(JSON.parse(stdout)).toEqual(NATIVE);
  });
});

describe.runIf(isSoak && hasParking)('Next.js, standalone', () => {
  const app = join(folder, 'next');
  const write = (name: string, text: string): void => {
    mkdirSync(dirname(join(app, name)), { recursive: true });
    writeFileSync(join(app, name), text);
  };

  beforeAll(() => {
    fetchInto(app, packInto(folder).tarball, 'next@16', 'react@19', 'react-dom@19');
    write('app/layout.jsx', 'export default ({ children }) => <html><body>{children}</body></html>;');
    write('app/page.jsx', 'export default () => <p>page</p>;');
    write(
      'app/lock/route.js',
      `import { InterProcessLock, layers } from 'fairlock';
       export const dynamic = 'force-dynamic';
       export async function GET() {
         const lock = new InterProcessLock(process.env.LOCK);
         return lock.withLock(() =>
           Response.json([lock.inspect().layers.wait, layers()['native-fallback'].reason ?? null]));
       }`,
    );
  }, 300_000);

  const builds: [string, string[], string[]][] = [
    ['Turbopack', ['build'], ['fairlock']],
    ['Turbopack, bundled', ['build'], []],
    ['webpack', ['build', '--webpack'], ['fairlock']],
  ];
  it.each(some(builds))('%s', async (_name, command, serverExternalPackages) => {
    const config = {
      output: 'standalone',
      serverExternalPackages,
      outputFileTracingRoot: app,
      turbopack: { root: app },
    };
    write('next.config.mjs', `export default ${JSON.stringify(config)};`);
    rmSync(join(app, '.next'), { recursive: true, force: true });
    const next = join(app, 'node_modules', '.bin', 'next');
    const built = await run(next, command, { NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1' }, app);
    expect(built.code, built.stdout + built.stderr).toBe(0);
    const away = path();
    cpSync(join(app, '.next', 'standalone'), away, { recursive: true });
    const port = await freePort();
    const env = { ...process.env, PORT: `${port}`, HOSTNAME: '127.0.0.1', LOCK: path(), FAIRLOCK_DISABLE: 'fs-ext' };
    const server = spawn(process.execPath, ['server.js'], { cwd: away, env, stdio: 'ignore' });
    try {
      const answer = await until(() => fetch(`http://127.0.0.1:${port}/lock`).catch(() => undefined));
      expect(await answer.json()).toEqual(NATIVE);
    } finally {
      server.kill();
    }
  });
});

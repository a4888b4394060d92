/** The package as its users get it: packed, installed without install scripts, imported by what it exports. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { fetchInto, linkInto, npm, type Packed, packInto } from './support/package.js';
import { root, testFolder } from './support/paths.js';
import { run } from './support/programs.js';
import { isSoak, some } from './support/scale.js';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, unknown>;
  version: string;
};
const subpaths = Object.keys(manifest.exports).filter((name) => !/package.json|prebuilds/.test(name));
const hasPrebuild = existsSync(join(root, 'native-fallback', 'prebuilds', `${process.platform}-${process.arch}.node`));

describe('the packed tarball, installed with install scripts disabled', () => {
  const { folder } = testFolder();
  let consumer: string;
  let packed: Packed;

  beforeAll(() => {
    consumer = mkdtempSync(join(folder, 'consumer-'));
    packed = packInto(folder);
    writeFileSync(join(consumer, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module', private: true }));
    npm(consumer, 'install', '--ignore-scripts', '--prefer-offline', packed.tarball);
  }, 300_000);

  const peers = [
    ['postgres', 'pg'],
    ['etcd', '@grpc/grpc-js'],
  ];
  it.each(some(peers))('fairlock/%s says that %s is missing, and how to install it', async (subpath, peer) => {
    for (const load of [`await import('fairlock/${subpath}')`, `require('fairlock/${subpath}')`]) {
      const type = load.startsWith('await') ? 'module' : 'commonjs';
      const { code, stderr } = await run(process.execPath, [`--input-type=${type}`, '-e', load], {}, consumer);
      expect([code, stderr]).toEqual([1, expect.stringContaining(`npm install ${peer}`)]);
    }
  });

  describe('with the optional peers, as if this program had installed them', () => {
    beforeAll(() => {
      for (const peer of ['pg', '@types/pg', '@types/node', '@grpc/grpc-js']) {
        mkdirSync(join(consumer, 'node_modules', dirname(peer)), { recursive: true });
        symlinkSync(join(root, 'node_modules', peer), join(consumer, 'node_modules', peer));
      }
    });

    it.runIf(isSoak)('has types that compile strictly, for every subpath', async () => {
      const lines = subpaths.map((name, i) => `import * as m${i} from '${join('fairlock', name)}';\nvoid m${i};`);
      writeFileSync(join(consumer, 'use.ts'), lines.join('\n'));
      writeFileSync(
        join(consumer, 'tsconfig.json'),
        JSON.stringify({
          compilerOptions: {
            module: 'NodeNext',
            target: 'ES2022',
            lib: ['ES2023', 'ESNext.Disposable', 'DOM'],
            strict: true,
            noEmit: true,
            types: ['node'],
            typeRoots: [join(root, 'node_modules/@types')],
          },
          files: ['use.ts'],
        }),
      );
      const compiled = await run(join(root, 'node_modules/.bin/tsc'), ['-p', consumer]);
      expect(compiled.stdout).toBe('');
    });

    it.runIf(isSoak).each(['20.11.30'])(
      'has types for programs with @types/node %s and exact optional properties',
      async (version) => {
        const project = join(folder, `types-${version}`);
        fetchInto(project, `@types/node@${version}`);
        linkInto(project);
        const use = `
        import { InterProcessLock, type LockHandle } from 'fairlock';
        import { LeaderElection, runOnce } from 'fairlock/cluster';
        import { LockManager } from 'fairlock/web-locks';
        import { temporaryLockPath } from 'fairlock/testing';
        import { lock } from 'fairlock/lockutils';
        declare const none: undefined;
        const held: Promise<LockHandle> = new InterProcessLock('x', { mode: none, stale: none }).acquire({ timeout: none, signal: none });
        void runOnce('x', () => 1, { key: 'k', onFailure: none, timeout: none });
        void new LockManager('x').request('n', { mode: none, signal: none }, () => {});
        void lock('x', { external: none, timeout: none });
        void [held, new LeaderElection('x', { mode: none }), temporaryLockPath()];`;
        writeFileSync(join(project, 'use.ts'), use);
        const flags =
          '--noEmit --preserveSymlinks --strict --exactOptionalPropertyTypes --target es2022 --module nodenext --types node';
        const args = [...flags.split(' '), '--lib', 'es2022,esnext.disposable', 'use.ts'];
        const { stdout } = await run(join(root, 'node_modules/.bin/tsc'), args, {}, project);
        // Those of old types with a new compiler are their own.
        expect(
          stdout.split('\n').filter((line) => /^\S/.test(line) && !line.startsWith('node_modules/@types')),
        ).toEqual([]);
      },
    );

    it('exports every subpath', async () => {
      // Each alone: another one may load what it forgot to.
      for (const name of some(subpaths, 6)) {
        const load = `await import('${join('fairlock', name)}')`;
        const { code, stderr } = await run(process.execPath, ['--input-type=module', '-e', load], {}, consumer);
        expect([code, stderr]).toEqual([0, '']);
      }
    });
  });

  it.runIf(hasPrebuild)(
    'parks its waits all the same: the binary travels in the package, fs-ext is a quiet miss',
    async () => {
      const script = `
      import { InterProcessLock, layers } from 'fairlock';
      const lock = new InterProcessLock('x.lock');
      await lock.withLock(() => {});
      console.log(JSON.stringify([layers()['native-fallback'], layers()['fs-ext'].loaded, lock.inspect().layers]));`;
      const { stdout, stderr } = await run(
        process.execPath,
        ['--input-type=module', '-e', script],
        { FAIRLOCK_DISABLE: '' },
        consumer,
      );
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toEqual([
        { loaded: true },
        false,
        { lock: 'native-fallback', wait: 'native-fallback' },
      ]);
    },
  );

  it('has the command', async () => {
    const fairlock = join(consumer, 'node_modules', '.bin', 'fairlock');
    expect((await run(fairlock, ['--version'], {}, consumer)).stdout).toBe(`${manifest.version}\n`);
    expect(
      await run(fairlock, ['run', 'command.lock', '--', 'sh', '-c', 'echo inside; exit 3'], {}, consumer),
    ).toMatchObject({
      code: 3,
      stdout: 'inside\n',
    });
    if (hasPrebuild && isSoak)
      expect((await run(fairlock, ['doctor'], { FAIRLOCK_DISABLE: '' }, consumer)).stdout).toContain(
        '✓ native-fallback: loads',
      );
  });

  it('has what its users need, and nothing else', () => {
    const kinds = [
      /^(README|CHANGELOG)\.md$|^LICENSE$|^package\.json$/,
      /^docs\/[\w-]+\.(md|svg)$/,
      /^dist\/(cjs\/)?([\w-]+\/)*[\w-]+\.(js|d\.ts)$|^dist\/(cjs|cli)\/package\.json$|^dist\/cli\/(LICENSES\.txt|trace-view\.css)$|^dist\/fairlock\.1$/,
      /^native-fallback\/prebuilds\/[\w-]+\.node$/,
    ];
    expect(packed.files.filter(({ path }) => !kinds.some((kind) => kind.test(path)))).toEqual([]);
    expect(packed.files.filter(({ path }) => path.startsWith('dist/internal'))).toEqual([]);
    expect(packed.size).toBeLessThan(1_000_000);
    // No map travels along, so no file may point to one.
    const installed = join(consumer, 'node_modules', 'fairlock');
    const scripts = packed.files.filter(({ path }) => path.endsWith('.js'));
    expect(
      scripts.filter(({ path }) => readFileSync(join(installed, path), 'utf8').includes('sourceMappingURL=')),
    ).toEqual([]);
  });

  it('has what its pages link to, pages and headings', () => {
    const installed = join(consumer, 'node_modules', 'fairlock');
    const textOf = (file: string) => readFileSync(join(installed, file), 'utf8');
    const pages = packed.files.map(({ path }) => path).filter((path) => path.endsWith('.md'));
    const headings = (page: string) =>
      [...textOf(page).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^\p{L}\p{N} _-]/gu, '')
          .replaceAll(' ', '-'),
      );
    const broken = pages.flatMap((page) => {
      const prose = textOf(page).replace(/^```[\s\S]*?^```$/gm, '');
      return [...prose.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)]*))?\)/g)]
        .filter(([, file = '', heading]) => {
          const target = file === '' ? page : join(dirname(page), file);
          if (!existsSync(join(installed, target))) return true;
          return heading !== undefined && !headings(target).includes(heading);
        })
        .map(([link]) => `${page}: ${link}`);
    });
    expect(pages.length).toBeGreaterThan(15);
    expect(broken).toEqual([]);
  });

  it('has no install script and no binding.gyp in its root', () => {
    const installed = join(consumer, 'node_modules', 'fairlock');
    const { scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    expect(['preinstall', 'install', 'postinstall'].filter((name) => name in scripts)).toEqual([]);
    expect(existsSync(join(installed, 'binding.gyp'))).toBe(false);
    expect(existsSync(join(installed, 'LICENSE'))).toBe(true);
  });
});

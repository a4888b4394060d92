import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasParking } from '../support/capabilities.js';
import { root, testFolder } from '../support/paths.js';
import { runProgram, runScript } from '../support/programs.js';
import { needs } from '../support/tools.js';

const { path } = testFolder();

/** A copy of what is built, with the same file of the addon: as Jest and bundlers make one. */
function copyOfLibrary(): string {
  const copy = path();
  mkdirSync(copy);
  cpSync(join(root, 'dist'), join(copy, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(copy, 'package.json'));
  symlinkSync(join(root, 'native-fallback'), join(copy, 'native-fallback'));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

describe.runIf(hasParking)('two copies of the library in one process', () => {
  const inOneProcess = (scenario: string): ReturnType<typeof runProgram> =>
    runProgram('two-copies.mjs', [scenario, join(copyOfLibrary(), 'dist/index.js'), path(), path()]);

  it('each is told of its own waits, whichever was loaded last', async () => {
    needs('flock');
    const { stdout, stderr, code } = await inOneProcess('own waits');
    expect([code, stderr, stdout]).toEqual([0, '', 'false\nfalse\ntrue\n']);
  });

  it('a timeout of one does not end a wait of the other', async () => {
    needs('flock');
    const { stdout, stderr, code } = await inOneProcess('timeout');
    expect([code, stderr, stdout]).toEqual([0, '', 'ERR_LOCK_TIMEOUT\ngranted true\n']);
  });

  it('they share the queue of a path, in order', async () => {
    const { stdout, stderr } = await inOneProcess('order');
    expect([stderr, stdout]).toEqual(['', 'null\n0,1,2,3\n']);
  });
});

describe('the addon', () => {
  it('is not looked for beside a bundle, where a file may have been planted', async () => {
    const app = path();
    mkdirSync(join(app, 'a/b'), { recursive: true });
    mkdirSync(join(app, 'native-fallback/prebuilds'), { recursive: true });
    writeFileSync(join(app, `native-fallback/prebuilds/${process.platform}-${process.arch}.node`), 'planted');
    const { build } = await import('esbuild');
    const outfile = join(app, 'a/b/bundle.mjs');
    await build({
      entryPoints: [join(root, 'dist/index.js')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['proper-lockfile'],
    });
    const script = `
      const { layers } = await import(${JSON.stringify(outfile)});
      console.log(layers()['native-fallback'].reason);`;
    const { stdout } = await runScript(script);
    expect(stdout).toMatch(/was bundled into .*mark 'fairlock' as external/);
    expect(stdout).not.toContain('native-fallback/prebuilds');
  });
});

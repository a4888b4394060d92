import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasParking } from '../support/capabilities.js';
import { root, testFolder } from '../support/paths.js';
import { runScript } from '../support/programs.js';
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
  const heldElsewhere = (file: string): string => `
    import { spawn, spawnSync } from 'node:child_process';
    import { once } from 'node:events';
    const holder = spawn('flock', [${JSON.stringify(file)}, 'sh', '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    const isFree = () => spawnSync('flock', ['-n', ${JSON.stringify(file)}, 'true']).status === 0;`;

  it('each is told of its own waits, whichever was loaded last', async () => {
    needs('flock');
    const file = path();
    const script = `
      ${heldElsewhere(file)}
      const a = await import('fairlock');
      const waiting = new a.InterProcessLock(${JSON.stringify(file)}).acquire();
      const b = await import(${JSON.stringify(join(copyOfLibrary(), 'dist/index.js'))});
      console.log(a.InterProcessLock === b.InterProcessLock);
      (await new b.InterProcessLock(${JSON.stringify(path())}).acquire()).release();
      holder.stdin.end();
      const handle = await waiting;
      console.log(isFree());
      handle.release();
      console.log(isFree());`;
    const { stdout, stderr, code } = await runScript(script);
    expect([code, stderr, stdout]).toEqual([0, '', 'false\nfalse\ntrue\n']);
  });

  it('a timeout of one does not end a wait of the other', async () => {
    needs('flock');
    const [file, other] = [path(), path()];
    const script = `
      ${heldElsewhere(file)}
      const a = await import('fairlock');
      const b = await import(${JSON.stringify(join(copyOfLibrary(), 'dist/index.js'))});
      // The first wait of A is over, and its number is used again by B; then A's next one times out.
      await new a.InterProcessLock(${JSON.stringify(file)}).acquire({ timeout: 1 }).catch(() => {});
      const waiting = new b.InterProcessLock(${JSON.stringify(file)}).acquire();
      await new a.InterProcessLock(${JSON.stringify(other)}, { fairness: 'fifo' }).acquire();
      await new a.InterProcessLock(${JSON.stringify(file)}).acquire({ timeout: 1 }).catch(({ code }) => console.log(code));
      holder.stdin.end();
      (await waiting).release();
      console.log('granted', isFree());`;
    const { stdout, stderr, code } = await runScript(script);
    expect([code, stderr, stdout]).toEqual([0, '', 'ERR_LOCK_TIMEOUT\ngranted true\n']);
  });

  it('they share the queue of a path, in order', async () => {
    const script = `
      const a = await import('fairlock');
      const b = await import(${JSON.stringify(join(copyOfLibrary(), 'dist/index.js'))});
      const locks = [a, b, a, b].map(({ InterProcessLock }) => new InterProcessLock(${JSON.stringify(path())}));
      const first = await locks[0].acquire();
      const order = [];
      const all = locks.map((lock, i) => lock.withLock(() => void order.push(i)));
      console.log(locks[1].tryAcquire());
      first.release();
      await Promise.all(all);
      console.log(order.join());`;
    const { stdout, stderr } = await runScript(script);
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

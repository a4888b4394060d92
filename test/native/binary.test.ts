import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { libc } from '../../src/native/binary.js';
import { root, testFolder } from '../support/paths.js';
import { runScript } from '../support/programs.js';

const { path } = testFolder();

/** The library without any binary: it tells which ones it looked for. */
async function lookedFor(loader: string): Promise<string[]> {
  const app = path();
  cpSync(join(root, 'dist'), join(app, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(app, 'package.json'));
  const program = path();
  writeFileSync(program, `\x7fELF${'\0'.repeat(500)}${loader}\0`);
  const script = `
    process.execPath = ${JSON.stringify(program)};
    const { layers } = await import(${JSON.stringify(join(app, 'dist/index.js'))});
    console.log(layers()['native-fallback'].reason);`;
  const { stdout } = await runScript(script, { FAIRLOCK_DISABLE: '' });
  return [...stdout.matchAll(/native-fallback\/([\w./-]+\.node): /g)].map(([, name]) => name as string);
}

describe.runIf(process.platform === 'linux')('the binary', () => {
  it.each([
    ['/lib64/ld-linux-x86-64.so.2', ''],
    ['/lib/ld-musl-x86_64.so.1', '-musl'],
    // What the program says is not understood: the report tells, which is this process's.
    ['/strange/loader', libc() === 'musl' ? '-musl' : ''],
  ])('is that of the C library that the program runs on: %s', async (loader, suffix) => {
    expect(await lookedFor(loader)).toEqual([
      'build/Release/fairlock.node',
      `prebuilds/${process.platform}-${process.arch}${suffix}.node`,
    ]);
  });
});

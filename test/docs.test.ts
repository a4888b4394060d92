/** Every program and shell session of README and docs runs as it stands; `<!-- not run: why -->` above one says why not. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasParking } from './support/capabilities.js';
import { linkInto } from './support/package.js';
import { root, testFolder } from './support/paths.js';
import { program, run } from './support/programs.js';
import { some } from './support/scale.js';

const { path } = testFolder();
const pages = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

interface Block {
  where: string;
  language: string;
  text: string;
  /** Why it is not run. */
  why: string | undefined;
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/(?:<!-- not run: (.*) -->\n\n?)?^```(\w*)\n([\s\S]*?)^```$/gm)].map((found) => ({
    where: `${page}:${text.slice(0, found.index).split('\n').length}`,
    language: found[2] ?? '',
    text: found[3] ?? '',
    why: found[1],
  }));
}

/** A folder that has the package installed, the command in its path, and the commands that the sessions call. */
function world(): { where: string; bin: string } {
  const where = path();
  const bin = join(where, 'bin');
  linkInto(where);
  mkdirSync(bin);
  mkdirSync(join(where, 'locks'));
  const command = (file: string, text: string): void => {
    writeFileSync(file, `#!/bin/sh\n${text}\n`);
    chmodSync(file, 0o755);
  };
  command(join(bin, 'npx'), `shift; exec '${process.execPath}' '${root}dist/cli/main.js' "$@"`);
  for (const name of ['make', 'npm']) command(join(bin, name), 'true');
  for (const name of ['backup.sh', 'job.sh']) command(join(where, name), 'true');
  return { where, bin };
}

/** The name of the file that a block says it is, in its first line. */
const fileOf = (block: Block): string | undefined => /^\/\/ (\w+\.mjs):/.exec(block.text)?.[1];

/** The folders of the docs are the test's own. */
const moved = (text: string, where: string): string =>
  text.replaceAll(/\/var\/(lock|lib\/app)\b/g, join(where, 'locks'));

describe.runIf(hasParking)('README and docs', () => {
  const all = pages.flatMap(blocksOf).filter(({ language }) => language !== '' && language !== 'sql');

  const files = all.flatMap((block) => {
    const name = fileOf(block);
    return name === undefined ? [] : [[name, block] as const];
  });

  it('are all in a language that is run', () => {
    const run = all.filter(({ why }) => why === undefined);
    expect(new Set(run.map(({ language }) => language))).toEqual(new Set(['js', 'cjs', 'sh']));
    expect(all.filter(({ why }) => why !== undefined).length).toBeLessThan(all.length / 4);
  });

  it.each(
    some(
      all.filter(({ why }) => why === undefined),
      6,
    ).map((block) => [block.where, block] as const),
  )('%s runs', async (_where, { language, text }) => {
    const { where, bin } = world();
    const file = join(where, language === 'sh' ? 'session.sh' : language === 'js' ? 'program.mjs' : 'program.cjs');
    writeFileSync(file, moved(text, where));
    for (const [name, other] of files) writeFileSync(join(where, name), moved(other.text, where));
    const [command, args] =
      language === 'sh' ? ['sh', ['-e', file]] : [process.execPath, ['--import', program('docs-world.mjs'), file]];
    const env = { PATH: `${bin}:${process.env.PATH}`, TMPDIR: where, FAIRLOCK_DISABLE: '' };
    const { code, stderr } = await run(command as string, args as string[], env, where);
    expect([code, stderr.split('\n').filter((line) => /error|not found/i.test(line))]).toEqual([0, []]);
  });
});

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { closeOpenSpans, type Span, spansOf, waitedFor } from '../../src/cli/trace-events.js';
import { hasParking } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { holdByFlock, program, run, track } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

const { path } = testFolder();

const record = (process: string, ...events: object[]): string =>
  [{ process, command: 'x' }, ...events]
    .map((event) => `${JSON.stringify({ path: '/a', shared: false, ...event })}\n`)
    .join('');

describe('what was written down', () => {
  it('becomes waits and holds, and how they ended', () => {
    const text = record(
      '1.0',
      { at: 1, what: 'grant', hold: 1 },
      { at: 2, what: 'request', request: 1 },
      { at: 3, what: 'request', request: 2 },
      { at: 4, what: 'cancel', request: 2 },
      { at: 5, what: 'release', hold: 1 },
      { at: 6, what: 'grant', request: 1, hold: 2 },
      { at: 7, what: 'loss', hold: 2 },
      { at: 8, what: 'release', hold: 2 },
      { at: 9, what: 'request', request: 3 },
    );
    const shown = spansOf(`${text}{"at":1`, 10).map(({ kind, begin, end, outcome }) => [kind, begin, end, outcome]);
    expect(shown).toEqual([
      ['hold', 1, 5, undefined],
      ['wait', 2, 6, undefined],
      ['wait', 3, 4, 'cancelled'],
      ['hold', 6, 7, 'lost'],
      ['wait', 9, 10, 'not over'],
    ]);
  });

  it('lines that are torn, or missing, cost only themselves', () => {
    const whole = record('1.0', { at: 1, what: 'grant', hold: 1 }, { at: 5, what: 'release', hold: 1 });
    const [first, grant, release] = whole.split('\n') as [string, string, string];
    const spans = (text: string) => spansOf(text, 10, '1.0').map(({ process, begin, end }) => [process, begin, end]);
    expect(spans([first, grant, release, ''].join('\n'))).toEqual([['1.0', 1, 5]]);
    expect(spans([first.slice(0, 9), grant, grant.slice(0, 7), release, ''].join('\n'))).toEqual([['1.0', 1, 5]]);
    expect(spans([grant, `${release.slice(0, 9)}${grant}`, 'null', '{}', ''].join('\n'))).toEqual([['1.0', 1, 10]]);
  });

  it('a hold that no process ended is over when the next one is granted', () => {
    const spans = [
      ...spansOf(record('1.0', { at: 1, what: 'grant', hold: 1 }), 10),
      ...spansOf(
        record('2.0', { at: 2, what: 'request', request: 1 }, { at: 4, what: 'grant', request: 1, hold: 1 }),
        10,
      ),
    ];
    closeOpenSpans(spans);
    expect(spans.map(({ end, outcome }) => [end, outcome])).toEqual([
      [4, 'died'],
      [4, undefined],
      [10, 'not over'],
    ]);
    expect(waitedFor(spans[1] as Span, spans).map(({ process }) => process)).toEqual(['1.0']);
  });
});

describe.runIf(hasParking)('fairlock trace', () => {
  it('draws the waits and holds of all processes, a killed one too, and ends with the exit code', async () => {
    const out = path();
    const command = [process.execPath, program('traced.mjs'), path('<b>&.lock')];
    const ran = await run(process.execPath, [CLI, 'trace', '-o', out, '--', ...command]);
    expect([ran.code, ran.stdout]).toEqual([7, '']);
    expect(ran.stderr).toMatch(/^fairlock: 4 waits and holds are in /);
    const page = readFileSync(out, 'utf8');
    expect(page.match(/class="(hold|wait)[^"]*" x/g)).toEqual([
      'class="wait" x',
      'class="hold" x',
      'class="hold" x',
      'class="hold died" x',
    ]);
    expect(page).toMatch(/<title>\d+ waited for \d+, [\d.]+ m?s; from/);
    expect(page).toContain('&#60;b&#62;&#38;.lock');
    expect(page).not.toMatch(/<b>|src=|href=/);
  });

  it('files of the command in the folder of the records are left out, and its exit code is passed on', async () => {
    const out = path('page.html');
    const foreign = 'cd "$FAIRLOCK_TRACE_FOLDER" && echo x > notes && mkdir 1.0 && echo "{" > 2.0; exit 7';
    const { code, stderr } = await run(process.execPath, [CLI, 'trace', '-o', out, '--', 'sh', '-c', foreign]);
    expect([code, stderr]).toEqual([7, expect.stringContaining(`0 waits and holds are in ${out}`)]);
  });

  it('looks at the locks of other programs', async () => {
    const [file, out] = [path(), path()];
    const holder = await holdByFlock(file);
    const args = [CLI, 'trace', '-o', out, '--seconds', '1000', '--watch', file];
    const watcher = track(spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] }));
    await once(watcher.stderr, 'data'); // It handles a Ctrl-C from now on.
    watcher.kill('SIGINT');
    expect(await once(watcher, 'exit')).toEqual([0, null]);
    await holder.letGo();
    expect(readFileSync(out, 'utf8')).toMatch(/class="hold" x[^>]*><title>\d+ held/);
  });

  it.runIf(isSoak)('says what is wrong', async () => {
    const calls = [
      [['trace'], 64],
      [['trace', '--watch', path(), '--', 'true'], 64],
      [['trace', '-o', '/nowhere/x.html', '--', 'true'], 73],
    ] as const;
    for (const [args, code] of calls) expect((await run(process.execPath, [CLI, ...args])).code).toBe(code);
  });

  it.runIf(isSoak && spawnSync('chromium', ['--version']).status === 0)('a browser shows it', async () => {
    const out = path('page.html');
    await run(process.execPath, [CLI, 'trace', '-o', out, '--', process.execPath, program('traced.mjs'), path()]);
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--dump-dom'];
    const { stdout } = await run('chromium', [...flags, `file://${out}`]);
    expect(stdout.match(/<rect class="(hold|wait)[^"]*" x/g)?.length).toBe(4);
    expect(stdout).toContain('<th>longest</th>');
  });
});

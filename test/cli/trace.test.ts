import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { closeOpenSpans, spansOf } from '../../src/cli/trace-events.js';
import { HOLD, OUTCOMES, type TraceData, WAIT } from '../../src/cli/trace-view/model.js';
import { hasParking } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { holdByFlock, program, run, track } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

const { path } = testFolder();

/** What a page shows. */
function dataOf(page: string): TraceData {
  const [, json = ''] =
    /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(readFileSync(page, 'utf8')) ?? [];
  return JSON.parse(json);
}

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
  });
});

describe.runIf(hasParking)('fairlock trace', () => {
  it('draws the waits and holds of all processes, a killed one too, and ends with the exit code', async () => {
    const out = path();
    const command = [process.execPath, program('traced.mjs'), path('<b>&.lock')];
    const ran = await run(process.execPath, [CLI, 'trace', '-o', out, '--', ...command]);
    expect([ran.code, ran.stdout]).toEqual([7, '']);
    expect(ran.stderr).toMatch(/^fairlock: 4 waits and holds are in /);
    const { title, locks, processes, rows } = dataOf(out);
    expect(title).toContain('<b>&.lock');
    expect(locks).toEqual([expect.stringContaining('<b>&.lock')]);
    expect(processes.length).toBe(2);
    expect(rows.map(([, , kind, , , , outcome]) => `${kind} ${OUTCOMES[outcome]}`).sort()).toEqual(
      [`${HOLD} killed`, `${WAIT} `, `${HOLD} `, `${HOLD} `].sort(),
    );
    const page = readFileSync(out, 'utf8');
    expect(page).not.toContain('<b>');
  });

  it('sees what `fairlock run` holds, and that a process ends holding is no crash', async () => {
    const [out, file] = [path('page.html'), path()];
    const held = `const { InterProcessLock } = await import('fairlock'); new InterProcessLock(process.argv[1]).tryAcquire();`;
    const script = '"$0" "$1" run "$2" true; "$0" --input-type=module -e "$3" "$2"';
    const command = ['sh', '-c', script, process.execPath, CLI, file, held];
    expect((await run(process.execPath, [CLI, 'trace', '-o', out, '--', ...command])).code).toBe(0);
    expect(dataOf(out).rows.map(([, , kind, , , , outcome]) => [kind, OUTCOMES[outcome]])).toEqual([
      [HOLD, ''],
      [HOLD, ''],
    ]);
  });

  it('writes what Perfetto and Chrome open, into a file that ends in .json', async () => {
    const out = path('trace.json');
    await run(process.execPath, [CLI, 'trace', '-o', out, '--', process.execPath, program('traced.mjs'), path()]);
    const { traceEvents } = JSON.parse(readFileSync(out, 'utf8'));
    expect(traceEvents.filter(({ ph }: { ph: string }) => ph === 'X').length).toBe(4);
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
    expect(dataOf(out).rows).toEqual([[0, 0, HOLD, 0, 0, expect.any(Number), 0]]);
  });

  it.runIf(isSoak)('says what is wrong', async () => {
    const calls = [
      [['trace'], 64],
      [['trace', '--watch', path(), '--', 'true'], 64],
      [['trace', '-o', '/nowhere/x.html', '--', 'true'], 73],
    ] as const;
    for (const [args, code] of calls) expect((await run(process.execPath, [CLI, ...args])).code).toBe(code);
  });
});

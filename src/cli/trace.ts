/** `fairlock trace`: what happened to locks, as a page to look at. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { commandIn } from './arguments.js';
import { runCommand } from './child.js';
import { CANNOT_CREATE, CliError, UNAVAILABLE, USAGE } from './exit-codes.js';
import { needPlatformThatTells, statusOf } from './lock-status.js';
import { Observer } from './observer.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import { Signals } from './signals.js';
import { surroundings } from './surroundings.js';
import { closeOpenSpans, now, RECORD, type Span, spansOf, TRACE_FOLDER } from './trace-events.js';
import { page, traceData } from './trace-page.js';
import { traceEvents } from './trace-view/trace-event-format.js';

const SAMPLE_MS = 20;

export interface TraceOptions {
  out: string;
  /** Lock files to look at; without them a command is run. */
  watch?: readonly string[];
  seconds: number;
}

export async function trace(words: readonly string[], { out, watch, seconds }: TraceOptions): Promise<number> {
  if (watch !== undefined) {
    if (words.length > 0) throw new CliError('either --watch FILE or -- COMMAND, not both', USAGE);
    const spans = await sampled(watch, seconds);
    write(
      out,
      spans,
      `fairlock trace --watch ${watch.join(' ')}`,
      `Looked at every ${SAMPLE_MS} ms: shorter holds are not seen.`,
    );
    return 0;
  }
  const [file, ...args] = commandIn(words, 'fairlock trace -- COMMAND [ARG…]');
  const around = surroundings();
  const signals = new Signals(around.ignored);
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-trace-'));
  try {
    const hook = `--import=${new URL('./trace-hook.js', import.meta.url).href}`;
    const before = process.env.NODE_OPTIONS ?? '';
    const env = { ...process.env, [TRACE_FOLDER]: folder, NODE_OPTIONS: `${before} ${hook}`.trim() };
    const code = await runCommand({ file, args, env, surroundings: around, signals }, () => UNAVAILABLE);
    const end = now();
    const spans = readdirSync(folder).flatMap((name) => recorded(folder, name, end));
    closeOpenSpans(spans);
    write(
      out,
      spans,
      `fairlock trace -- ${[file, ...args].join(' ')}`,
      'Every wait and hold of the Node programs that it started.',
    );
    return code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function recorded(folder: string, name: string, end: number): Span[] {
  if (!RECORD.test(name)) return []; // The command's own: the folder is in its environment.
  try {
    return spansOf(readFileSync(join(folder, name), 'utf8'), end, name);
  } catch (error) {
    say(`cannot read ${join(folder, name)}: ${reasonOf(error)}`);
    return [];
  }
}

/** Of processes of all kinds, as the kernel shows them. */
async function sampled(paths: readonly string[], seconds: number): Promise<Span[]> {
  needPlatformThatTells();
  const spans: Span[] = [];
  const observer = new Observer();
  let going = true;
  const stop = (): void => {
    going = false;
  };
  process.once('SIGINT', stop);
  say(`looking at ${paths.join(', ')}; Ctrl-C ends it`);
  for (const end = now() + seconds * 1000; going && now() < end; await setTimeout(SAMPLE_MS)) {
    const at = now();
    spans.push(
      ...observer.see(
        paths.map((path) => statusOf(path)),
        at,
      ).begun,
    );
  }
  process.off('SIGINT', stop);
  return spans;
}

function write(out: string, spans: readonly Span[], title: string, note: string): void {
  try {
    const data = traceData(spans, { title, note });
    writeFileSync(out, out.endsWith('.json') ? JSON.stringify(traceEvents(data)) : page(data));
  } catch (error) {
    throw new CliError(`cannot write ${out}: ${reasonOf(error)}`, CANNOT_CREATE);
  }
  say(`${spans.length} waits and holds are in ${out}`);
}

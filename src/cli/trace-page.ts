/** The page of `fairlock trace`: one HTML file that needs nothing else. What it shows is reckoned in the browser. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Span } from './trace-events.js';
import { HOLD, OUTCOMES, type Row, type TraceData, WAIT } from './trace-view/model.js';

const OUTCOME_NAMES: Record<NonNullable<Span['outcome']>, (typeof OUTCOMES)[number]> = {
  cancelled: 'gave up',
  lost: 'lost',
  died: 'killed',
  'not over': 'not over',
};

/** Times from the first of them on, in whole µs. */
export function traceData(spans: readonly Span[], { title, note }: { title: string; note: string }): TraceData {
  const start = spans.reduce((first, { begin }) => Math.min(first, begin), Infinity);
  const rounded = (time: number): number => Math.round((time - start) * 1000) / 1000;
  const commands = new Map(spans.map(({ process, command }) => [process, command]));
  const names = [...commands.keys()].sort((a, b) => Number.parseFloat(a) - Number.parseFloat(b));
  const locks = [...new Set(spans.map(({ path }) => path))].sort();
  const numbers = {
    process: new Map(names.map((name, i) => [name, i])),
    lock: new Map(locks.map((path, i) => [path, i])),
  };
  const rows = spans.map(({ process, path, kind, shared, begin, end, outcome }): Row => {
    const how = OUTCOMES.indexOf(outcome === undefined ? '' : OUTCOME_NAMES[outcome]);
    const ids = [numbers.process.get(process) as number, numbers.lock.get(path) as number] as const;
    return [...ids, kind === 'hold' ? HOLD : WAIT, Number(shared), rounded(begin), rounded(end), how];
  });
  // Of the main thread the process's number alone.
  const processes = names.map((name) => ({ name: name.replace(/\.0$/, ''), command: commands.get(name) ?? '' }));
  return { title, note, processes, locks, rows };
}

export function page(data: TraceData): string {
  const [code, style] = ['js', 'css'].map((kind) => readFileSync(viewFile(kind), 'utf8'));
  // What a script holds ends at the first `</script`, wherever that is.
  const json = JSON.stringify(data).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(data.title)}</title><style>${style}</style></head>
<body><h1>${escaped(data.title)}</h1><p class="note">${escaped(data.note)}</p>
<div id="figures"></div>
<div id="locks"></div>
<h2>Processes</h2>
<div class="bar"><input id="search" type="search" placeholder="Search processes, commands, locks" aria-label="Search">
<button id="all" hidden>All locks</button><button id="in" aria-label="Zoom in">+</button>
<button id="out" aria-label="Zoom out">−</button><button id="whole">Whole trace</button>
<button id="export">Export for Perfetto</button><output id="range"></output></div>
<p class="key"><i class="hold"></i>holds<i class="shared"></i>holds, shared<i class="wait"></i>waits
&emsp;✕ gave up, lost, killed <span class="hint">&emsp; drag to move, Ctrl and wheel to zoom; in the strip, which shows how many wait, drag to choose</span></p>
<div id="depth"></div>
<div id="lanes"></div>
<div id="details" role="status" hidden></div>
<div id="tables"></div>
<div id="tip" hidden></div>
<script type="application/json" id="data">${json}</script>
<script>${code}</script></body></html>
`;
}

function viewFile(kind: string): string {
  return fileURLToPath(new URL(`./trace-view.${kind}`, import.meta.url));
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

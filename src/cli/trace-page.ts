/** `fairlock trace`: one HTML file that needs nothing else. A lane per process, a bar per wait and hold. */
import { quantileSorted } from 'd3-array';
import { scaleLinear } from 'd3-scale';
import { cut } from '../printable.js';
import { type Span, waitedFor } from './trace-events.js';

const LANE = 22;
const LEFT = 260;
const WIDTH = 1400;
const STYLE = `
  body { font: 14px system-ui, sans-serif; margin: 24px; color: #222; background: #fff; }
  h1 { font-size: 20px; } h2 { font-size: 16px; margin: 28px 0 6px; overflow-wrap: anywhere; }
  table { border-collapse: collapse; margin: 8px 0; } td, th { padding: 2px 12px; text-align: right; }
  th:first-child, td:first-child { text-align: left; } thead { border-bottom: 1px solid #999; }
  .scroll { overflow-x: auto; } svg text { font: 12px system-ui, sans-serif; fill: #333; }
  .hold { fill: #2a6fb0; } .hold.shared { fill: #58a65c; } .wait { fill: #f3c26b; }
  .wait.cancelled { fill: #d9d9d9; } .hold.lost, .hold.died { fill: #c0392b; } .lane { stroke: #eee; }
  .axis { stroke: #ddd; } .key { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 14px; }`;

export function page(spans: readonly Span[], { title, note }: { title: string; note: string }): string {
  const start = spans.reduce((first, { begin }) => Math.min(first, begin), Infinity);
  const moved = spans.map((span) => ({ ...span, begin: span.begin - start, end: span.end - start }));
  const end = moved.reduce((last, span) => Math.max(last, span.end), 1);
  const paths = [...new Set(moved.map(({ path }) => path))].sort();
  const sections = paths.map((path) => {
    const ofPath = moved.filter((span) => span.path === path);
    return `<h2>${escaped(path)}</h2>${figures(ofPath)}<div class="scroll">${lanes(ofPath, end)}</div>`;
  });
  const keys = [
    ['hold', 'holds'],
    ['hold shared', 'holds, shared'],
    ['wait', 'waits'],
    ['wait cancelled', 'gave up'],
    ['hold died', 'lost, or killed'],
  ].map(([kind, text]) => `<svg class="key"><rect class="${kind}" width="12" height="12"/></svg>${text}`);
  const empty = spans.length === 0 ? '<p>No process used a lock.</p>' : '';
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title><style>${STYLE}</style></head>
<body><h1>${escaped(title)}</h1><p>${escaped(note)}</p><p>${keys.join('')}</p>${empty}
${sections.join('\n')}
</body></html>
`;
}

function figures(spans: readonly Span[]): string {
  const row = (name: string, all: readonly Span[]): string => {
    const times = all.map(({ begin, end }) => end - begin).sort((a, b) => a - b);
    const at = [0.5, 0.95, 0.99, 1].map((p) => ms(quantileSorted(times, p) ?? 0));
    return `<tr><td>${name}</td>${[String(times.length), ...at].map((text) => `<td>${text}</td>`).join('')}</tr>`;
  };
  const waits = spans.filter(({ kind, outcome }) => kind === 'wait' && outcome !== 'cancelled');
  const left = spans.filter(({ outcome }) => outcome === 'cancelled');
  const holds = spans.filter(({ kind }) => kind === 'hold');
  const head = ['', 'count', 'median', '95 %', '99 %', 'longest'].map((text) => `<th>${text}</th>`).join('');
  const rows = [row('waits', waits), row('holds', holds), ...(left.length > 0 ? [row('gave up', left)] : [])];
  return `<table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

function lanes(spans: readonly Span[], end: number): string {
  const x = scaleLinear([0, end], [LEFT, WIDTH - 20]);
  const names = [...new Set(spans.map(({ process }) => process))].sort(
    (a, b) => Number(a.split('.')[0]) - Number(b.split('.')[0]),
  );
  const height = names.length * LANE + 26;
  const ticks = x
    .ticks(12)
    .map(
      (at) =>
        `<line class="axis" x1="${x(at)}" x2="${x(at)}" y1="0" y2="${height - 20}"/>` +
        `<text x="${x(at)}" y="${height - 6}" text-anchor="middle">${at} ms</text>`,
    );
  const rows = names.map((name, i) => {
    const y = i * LANE;
    const ofLane = spans.filter(({ process }) => process === name);
    const [first] = ofLane as [Span];
    // Without the folders of the program.
    const label = `${nameOf(first)} ${cut(first.command.replace(/^\S*\//, ''), 30)}`;
    const bars = ofLane.map((span) => bar(span, spans, { left: x(span.begin), right: x(span.end), y }));
    return `<line class="lane" x1="0" x2="${WIDTH}" y1="${y + LANE}" y2="${y + LANE}"/><text x="0" y="${y + 15}">${escaped(label)}</text>${bars.join('')}`;
  });
  return `<svg width="${WIDTH}" height="${height}" role="img" aria-label="waits and holds">${ticks.join('')}${rows.join('\n')}</svg>`;
}

function bar(
  span: Span,
  spans: readonly Span[],
  { left, right, y }: { left: number; right: number; y: number },
): string {
  const { kind, shared, outcome, begin, end } = span;
  const [height, top] = kind === 'hold' ? [14, y + 4] : [8, y + 7];
  const classes = [kind, shared ? 'shared' : '', outcome?.replace(' ', '-') ?? '']
    .filter((one) => one !== '')
    .join(' ');
  const others = [...new Set(kind === 'wait' ? waitedFor(span, spans).map(nameOf) : [])];
  const forWhom = others.length === 0 ? '' : ` for ${others.join(', ')}`;
  const how = outcome === undefined ? '' : `, ${outcome}`;
  const text = `${nameOf(span)} ${kind === 'hold' ? 'held' : 'waited'}${forWhom}, ${ms(end - begin)}${how}; from ${ms(begin)} on`;
  const width = Math.max(1, right - left);
  return `<rect class="${classes}" x="${left.toFixed(1)}" y="${top}" width="${width.toFixed(1)}" height="${height}"><title>${escaped(text)}</title></rect>`;
}

function ms(time: number): string {
  return time >= 1000 ? `${(time / 1000).toFixed(2)} s` : `${time >= 100 ? time.toFixed(0) : time.toFixed(2)} ms`;
}

/** Of the main thread the process's number alone. */
function nameOf({ process }: Span): string {
  return process.replace(/\.0$/, '');
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

/**
 * The lanes: one for each process, with a bar for each hold and a hatched one for each wait, in the colour of its lock.
 * Drawn on one canvas that is as large as what is seen of them, so that a long trace costs no more than a short one.
 */
import type { Theme } from './colours.js';
import { axisLabel, fitted, hatch, niceStep } from './drawing.js';
import { type Bar, duration, firstIndex, HOLD, type Model } from './model.js';

const ROW = 11;
const GAP = 9;
/** Above the rows of a lane, where there is no room beside them. */
const LABEL = 15;
const MOST_ROWS = 10;
const AXIS = 22;
const NARROW = 620;
const GUTTER = 210;
const KILLED = 3;
const SMALL = 4;

interface Lane {
  process: number;
  rows: Bar[][];
  top: number;
  height: number;
}

export interface Range {
  from: number;
  to: number;
}

export class Lanes {
  readonly #canvas: HTMLCanvasElement;
  readonly #spacer: HTMLDivElement;
  #lanes: Lane[] = [];
  #range: Range;
  #selected: Bar | undefined;
  /** What a selected wait was for. */
  #related = new Set<Bar>();
  #frame = 0;
  #isNarrow = false;
  #left = GUTTER;
  #width = 20;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly model: Model,
    /** By lock. */
    private readonly ranks: readonly number[],
    private theme: Theme,
    private readonly on: {
      zoom(range: Range): void;
      select(bar: Bar | undefined): void;
      hover(text: string, x: number, y: number): void;
    },
  ) {
    this.#range = { from: 0, to: model.end };
    this.#canvas = document.createElement('canvas');
    this.#canvas.tabIndex = 0;
    this.#canvas.setAttribute('role', 'img');
    this.#canvas.setAttribute('aria-label', 'waits and holds of each process; the tables say the same');
    this.#spacer = document.createElement('div');
    scroller.append(this.#canvas, this.#spacer);
    scroller.addEventListener('scroll', () => this.draw());
    this.#listen();
  }

  get range(): Range {
    return this.#range;
  }

  set range(range: Range) {
    const width = Math.max(range.to - range.from, this.model.end / 1e6);
    const from = Math.min(Math.max(0, range.from), Math.max(0, this.model.end - width));
    this.#range = { from, to: Math.min(this.model.end, from + width) };
    this.draw();
  }

  set look(theme: Theme) {
    this.theme = theme;
    this.draw();
  }

  /** @param isShown which bars */
  show(isShown: (bar: Bar) => boolean): void {
    this.#measure();
    const byProcess = new Map<number, Bar[]>();
    for (const bar of this.model.bars) {
      if (!isShown(bar)) continue;
      const list = byProcess.get(bar.process);
      if (list === undefined) byProcess.set(bar.process, [bar]);
      else list.push(bar);
    }
    const rows = [...byProcess]
      .sort(([a], [b]) => a - b)
      .map(([process, bars]) => ({ process, rows: this.model.rowsOf(bars, MOST_ROWS) }));
    let top = AXIS;
    this.#lanes = rows.map((lane) => {
      const height = Math.max(lane.rows.length * ROW, this.#isNarrow ? 0 : ROW) + GAP + (this.#isNarrow ? LABEL : 0);
      top += height;
      return { ...lane, top: top - height, height };
    });
    this.#spacer.style.height = `${top + 4}px`;
    this.scroller.style.height = `${top + 6}px`;
    this.draw();
  }

  select(bar: Bar | undefined): void {
    this.#selected = bar;
    this.#related = new Set(bar === undefined || bar.kind === HOLD ? [] : this.model.waitedFor(bar));
    if (bar !== undefined) this.#reveal(bar);
    this.draw();
  }

  /** Once per frame, however often it is asked for. */
  draw(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  /** To ask the browser for a size costs more than to draw a bar: so once for each drawing. */
  #measure(): void {
    const { clientWidth } = this.scroller;
    this.#isNarrow = clientWidth < NARROW;
    this.#left = this.#isNarrow ? 6 : GUTTER;
    this.#width = Math.max(20, clientWidth - this.#left - 8);
  }

  #x(time: number): number {
    return this.#left + ((time - this.#range.from) / (this.#range.to - this.#range.from)) * this.#width;
  }

  #time(x: number): number {
    return this.#range.from + ((x - this.#left) / this.#width) * (this.#range.to - this.#range.from);
  }

  #rowTop(lane: Lane, row: number): number {
    return lane.top + (this.#isNarrow ? LABEL : 4) + row * ROW;
  }

  #reveal(bar: Bar): void {
    const lane = this.#lanes.find(({ process }) => process === bar.process);
    if (lane === undefined) return;
    const { scrollTop, clientHeight } = this.scroller;
    if (lane.top < scrollTop + AXIS || lane.top + lane.height > scrollTop + clientHeight)
      this.scroller.scrollTop = lane.top - clientHeight / 3;
    const { from, to } = this.#range;
    if (bar.end < from || bar.begin > to) {
      const width = to - from;
      this.range = { from: bar.begin - width / 4, to: bar.begin + (width * 3) / 4 };
      this.on.zoom(this.#range);
    }
  }

  #draw(): void {
    const { clientWidth: width, clientHeight: height, scrollTop } = this.scroller;
    this.#measure();
    const ratio = devicePixelRatio;
    const canvas = this.#canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext('2d') as CanvasRenderingContext2D;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = this.theme.background;
    context.fillRect(0, 0, width, height);
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    context.translate(0, -scrollTop);
    for (const lane of this.#lanes) {
      if (lane.top > scrollTop + height) break;
      if (lane.top + lane.height >= scrollTop) this.#drawLane(context, lane, width);
    }
    this.#drawLinks(context);
    context.translate(0, scrollTop);
    this.#drawAxis(context, width, height);
  }

  #drawLane(context: CanvasRenderingContext2D, lane: Lane, width: number): void {
    context.fillStyle = this.theme.line;
    context.fillRect(0, lane.top + lane.height - 1, width, 1);
    const { name, command } = this.model.data.processes[lane.process] ?? { name: '?', command: '' };
    const label = `${name}  ${command.replace(/^\S*\//, '')}`;
    const room = this.#isNarrow ? width - 12 : GUTTER - 14;
    context.fillStyle = this.theme.text;
    context.fillText(
      fitted(context, label, room),
      6,
      lane.top + (this.#isNarrow ? 9 : Math.min(lane.height, ROW + GAP) / 2),
    );
    for (const [i, bars] of lane.rows.entries()) this.#drawRow(context, bars, this.#rowTop(lane, i));
  }

  /** Bars that fall on one pixel are drawn as one. */
  #drawRow(context: CanvasRenderingContext2D, bars: readonly Bar[], top: number): void {
    const { from, to } = this.#range;
    /** Those of a few pixels, by colour: drawn at once, without detail. */
    const small = new Map<string, Path2D>();
    let drawnTo = -1;
    for (let i = firstAfter(bars, from); i < bars.length; i++) {
      const bar = bars[i] as Bar;
      if (bar.begin > to) break;
      const left = Math.max(this.#left, this.#x(bar.begin));
      const right = Math.max(left + 1, Math.min(this.#left + this.#width, this.#x(bar.end)));
      if (right - drawnTo < 0.7 && bar !== this.#selected) continue;
      drawnTo = right;
      if (right - left > SMALL || this.#selected !== undefined || bar.outcome > 0) {
        this.#drawBar(context, bar, { left, right, top });
        continue;
      }
      const colour = `${this.theme.colour(this.ranks[bar.lock] ?? Infinity)}${bar.kind === HOLD ? '' : '77'}`;
      const path = small.get(colour) ?? new Path2D();
      path.rect(left, top, right - left, ROW - 2);
      small.set(colour, path);
    }
    for (const [colour, path] of small) {
      context.fillStyle = colour;
      context.fill(path);
    }
  }

  #drawBar(
    context: CanvasRenderingContext2D,
    bar: Bar,
    { left, right, top }: { left: number; right: number; top: number },
  ): void {
    const colour = this.theme.colour(this.ranks[bar.lock] ?? Infinity);
    const [width, height] = [right - left, ROW - 2];
    const isFaint = this.#selected !== undefined && bar !== this.#selected && !this.#related.has(bar);
    context.globalAlpha = isFaint ? 0.25 : 1;
    if (bar.kind === HOLD) {
      context.fillStyle = colour;
      context.fillRect(left, top, width, height);
      if (bar.shared && width > 4) {
        context.fillStyle = this.theme.background;
        context.fillRect(left + 1, top + 3, width - 2, height - 6);
      }
    } else {
      context.fillStyle = hatch(context, colour);
      context.fillRect(left, top, width, height);
      context.strokeStyle = colour;
      context.lineWidth = 1;
      if (width > 3) context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
    }
    if (bar.outcome > 0 && bar.outcome <= KILLED) this.#drawCross(context, right, top + height / 2);
    if (bar === this.#selected) {
      context.strokeStyle = this.theme.selection;
      context.lineWidth = 2;
      context.strokeRect(left - 1, top - 1, width + 2, height + 2);
    }
    context.globalAlpha = 1;
  }

  /** It did not end by a grant, or a release. */
  #drawCross(context: CanvasRenderingContext2D, x: number, y: number): void {
    context.strokeStyle = this.theme.text;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [dx, dy] of [
      [3, 3],
      [3, -3],
    ] as const) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
    context.stroke();
  }

  /** From the selected wait to what it was for. */
  #drawLinks(context: CanvasRenderingContext2D): void {
    const wait = this.#selected;
    const from = wait === undefined ? undefined : this.#place(wait);
    if (wait === undefined || from === undefined) return;
    context.strokeStyle = this.theme.selection;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    for (const hold of [...this.#related].slice(0, 200)) {
      const to = this.#place(hold);
      if (to === undefined) continue;
      const x = this.#x(Math.max(wait.begin, hold.begin, this.#range.from));
      if (x > this.#left + this.#width) continue;
      context.beginPath();
      context.moveTo(x, from);
      context.lineTo(x, to);
      context.stroke();
    }
    context.setLineDash([]);
  }

  /** The middle of its row. */
  #place(bar: Bar): number | undefined {
    const lane = this.#lanes.find(({ process }) => process === bar.process);
    const row = lane?.rows.findIndex((bars) => bars.includes(bar)) ?? -1;
    return lane === undefined || row < 0 ? undefined : this.#rowTop(lane, row) + ROW / 2;
  }

  #drawAxis(context: CanvasRenderingContext2D, width: number, height: number): void {
    context.fillStyle = this.theme.background;
    context.fillRect(0, 0, width, AXIS - 2);
    const { from, to } = this.#range;
    const step = niceStep((to - from) / Math.max(2, this.#width / 110));
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      const x = this.#x(time);
      context.fillStyle = this.theme.line;
      context.globalAlpha = 0.7;
      context.fillRect(x, AXIS - 4, 1, height);
      context.globalAlpha = 1;
      context.fillStyle = this.theme.muted;
      const label = axisLabel(time, step);
      const half = context.measureText(label).width / 2;
      context.fillText(label, Math.min(width - 2 * half - 2, Math.max(2, x - half)), 9);
    }
  }

  #at(event: MouseEvent): Bar | undefined {
    const box = this.#canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top + this.scroller.scrollTop];
    const lane = this.#lanes.find(({ top, height }) => y >= top && y < top + height);
    const bars = lane?.rows[Math.floor((y - (lane === undefined ? 0 : this.#rowTop(lane, 0))) / ROW)];
    if (bars === undefined) return undefined;
    // Two pixels to each side, for what is short.
    const [from, to] = [this.#time(x - 2), this.#time(x + 2)];
    const first = bars[firstAfter(bars, from)];
    return first !== undefined && first.begin <= to ? first : undefined;
  }

  #listen(): void {
    const canvas = this.#canvas;
    let dragFrom: { x: number; range: Range } | undefined;
    let hasMoved = false;
    canvas.addEventListener('pointerdown', (event) => {
      dragFrom = { x: event.clientX, range: this.#range };
      hasMoved = false;
      if (event.pointerType === 'mouse') canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (dragFrom !== undefined && event.pointerType === 'mouse' && Math.abs(event.clientX - dragFrom.x) > 3) {
        hasMoved = true;
        const moved = ((dragFrom.x - event.clientX) / this.#width) * (dragFrom.range.to - dragFrom.range.from);
        this.range = { from: dragFrom.range.from + moved, to: dragFrom.range.to + moved };
        this.on.zoom(this.#range);
        return;
      }
      const bar = this.#at(event);
      canvas.style.cursor = bar === undefined ? 'grab' : 'pointer';
      this.on.hover(bar === undefined ? '' : this.describe(bar), event.clientX, event.clientY);
    });
    canvas.addEventListener('pointerleave', () => this.on.hover('', 0, 0));
    canvas.addEventListener('pointerup', (event) => {
      if (!hasMoved) this.on.select(this.#at(event));
      dragFrom = undefined;
    });
    canvas.addEventListener('pointercancel', () => {
      dragFrom = undefined;
    });
    canvas.addEventListener('dblclick', () => this.#zoomTo({ from: 0, to: this.model.end }));
    canvas.addEventListener(
      'wheel',
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // The page scrolls.
        event.preventDefault();
        this.zoomBy(Math.exp(event.deltaY / 300), this.#time(event.clientX - canvas.getBoundingClientRect().left));
      },
      { passive: false },
    );
    canvas.addEventListener('keydown', ({ key }) => {
      const width = this.#range.to - this.#range.from;
      const shift = { ArrowLeft: -0.2, ArrowRight: 0.2 }[key];
      if (shift !== undefined)
        this.#zoomTo({ from: this.#range.from + shift * width, to: this.#range.to + shift * width });
      else if (key === '+') this.zoomBy(0.5);
      else if (key === '-') this.zoomBy(2);
      else if (key === '0') this.#zoomTo({ from: 0, to: this.model.end });
      else if (key === 'Escape') this.on.select(undefined);
    });
  }

  zoomBy(factor: number, around = (this.#range.from + this.#range.to) / 2): void {
    const { from, to } = this.#range;
    this.#zoomTo({ from: around - (around - from) * factor, to: around + (to - around) * factor });
  }

  #zoomTo(range: Range): void {
    this.range = range;
    this.on.zoom(this.#range);
  }

  describe(bar: Bar): string {
    const what = `${this.model.nameOf(bar.process)} ${bar.kind === HOLD ? 'held' : 'waited for'} ${this.model.data.locks[bar.lock]}`;
    return `${what}${bar.shared ? ', shared' : ''}: ${duration(bar.end - bar.begin)}, from ${duration(bar.begin)} on`;
  }
}

/** The first bar that does not end before the time: none of a row lies over another. */
function firstAfter(bars: readonly Bar[], time: number): number {
  return firstIndex(bars, ({ end }) => end >= time);
}

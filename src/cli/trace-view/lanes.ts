/**
 * The lanes: one for each process, with a bar for each hold and a hatched one for each wait, in the colour of its lock.
 * Drawn on one canvas that is as large as what is seen of them, so that a long trace costs no more than a short one.
 */
import { drawBar } from './bar-drawing.js';
import type { Theme } from './colours.js';
import { AXIS, drawAxis, fitted } from './drawing.js';
import { listen, type Movable, type Range } from './lane-input.js';
import { type Bar, firstAfter, HOLD, type Model } from './model.js';

const ROW = 11;
const GAP = 9;
/** Above the rows of a lane, where there is no room beside them. */
const LABEL = 15;
const MOST_ROWS = 10;
const NARROW = 620;
const GUTTER = 210;
const SMALL = 4;

interface Lane {
  process: number;
  rows: Bar[][];
  top: number;
  height: number;
}

export class Lanes implements Movable {
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
    listen(this.#canvas, this);
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

  get whole(): Range {
    return { from: 0, to: this.model.end };
  }

  get scale(): number {
    return (this.#range.to - this.#range.from) / this.#width;
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

  timeAt(x: number): number {
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
    const { from, to } = this.#range;
    drawAxis(context, this.theme, { from, to, x: (time) => this.#x(time), room: this.#width, width, height });
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
        const colour = this.theme.colour(this.ranks[bar.lock] ?? Infinity);
        const isSelected = bar === this.#selected;
        const isFaint = this.#selected !== undefined && !isSelected && !this.#related.has(bar);
        drawBar(
          context,
          bar,
          { left, right, top, height: ROW - 2 },
          { theme: this.theme, colour, isFaint, isSelected },
        );
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

  barAt(event: MouseEvent): Bar | undefined {
    const box = this.#canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top + this.scroller.scrollTop];
    const lane = this.#lanes.find(({ top, height }) => y >= top && y < top + height);
    const bars = lane?.rows[Math.floor((y - (lane === undefined ? 0 : this.#rowTop(lane, 0))) / ROW)];
    if (bars === undefined) return undefined;
    // Two pixels to each side, for what is short.
    const [from, to] = [this.timeAt(x - 2), this.timeAt(x + 2)];
    const first = bars[firstAfter(bars, from)];
    return first !== undefined && first.begin <= to ? first : undefined;
  }

  zoomBy(factor: number, around = (this.#range.from + this.#range.to) / 2): void {
    const { from, to } = this.#range;
    this.zoomTo({ from: around - (around - from) * factor, to: around + (to - around) * factor });
  }

  zoomTo(range: Range): void {
    this.range = range;
    this.on.zoom(this.#range);
  }

  choose(bar: Bar | undefined): void {
    this.on.select(bar);
  }

  hover(bar: Bar | undefined, { clientX, clientY }: MouseEvent): void {
    this.on.hover(bar === undefined ? '' : this.model.describe(bar), clientX, clientY);
  }
}

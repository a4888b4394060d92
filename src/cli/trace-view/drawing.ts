/** What is drawn with: hatches, texts that fit, the steps of an axis. */
import type { Theme } from './colours.js';

/** How high it is. */
export const AXIS = 22;

export interface Axis {
  from: number;
  to: number;
  /** Where a time is. */
  x: (time: number) => number;
  /** How many pixels lie between `from` and `to`. */
  room: number;
  width: number;
  height: number;
}

const patterns = new Map<string, CanvasPattern>();

export function hatch(context: CanvasRenderingContext2D, colour: string): CanvasPattern | string {
  const known = patterns.get(colour);
  if (known !== undefined) return known;
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const pen = tile.getContext('2d') as CanvasRenderingContext2D;
  pen.fillStyle = `${colour}33`;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.2;
  pen.beginPath();
  for (const offset of [-6, 0, 6]) {
    pen.moveTo(offset, 6);
    pen.lineTo(offset + 6, 0);
  }
  pen.stroke();
  const pattern = context.createPattern(tile, 'repeat');
  if (pattern !== null) patterns.set(colour, pattern);
  return pattern ?? colour;
}

export function fitted(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (context.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length)}…`;
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5, 10].find((factor) => factor * power >= least) ?? 10) * power;
}

function axisLabel(time: number, step: number): string {
  if (step >= 1000) return `${(time / 1000).toFixed(0)} s`;
  if (time >= 1000 && step >= 1) return `${(time / 1000).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3)} s`;
  return step >= 1 ? `${time.toFixed(0)} ms` : `${time.toFixed(step >= 0.1 ? 1 : 3)} ms`;
}

/** Lines from the top to the bottom of what is seen, each with its time. */
export function drawAxis(
  context: CanvasRenderingContext2D,
  theme: Theme,
  { from, to, x, room, width, height }: Axis,
): void {
  context.fillStyle = theme.background;
  context.fillRect(0, 0, width, AXIS - 2);
  const step = niceStep((to - from) / Math.max(2, room / 110));
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    context.fillStyle = theme.line;
    context.globalAlpha = 0.7;
    context.fillRect(x(time), AXIS - 4, 1, height);
    context.globalAlpha = 1;
    context.fillStyle = theme.muted;
    const label = axisLabel(time, step);
    const half = context.measureText(label).width / 2;
    context.fillText(label, Math.min(width - 2 * half - 2, Math.max(2, x(time) - half)), 9);
  }
}

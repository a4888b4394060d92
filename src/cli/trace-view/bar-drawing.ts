/** One bar of a lane: full where the lock was held, hatched where it was waited for, with a cross if that came to nothing. */
import type { Theme } from './colours.js';
import { hatch } from './drawing.js';
import { type Bar, HOLD } from './model.js';

/** Outcomes from 1 to this: given up, lost, killed. */
const KILLED = 3;

export interface Box {
  left: number;
  right: number;
  top: number;
  height: number;
}

export function drawBar(
  context: CanvasRenderingContext2D,
  bar: Bar,
  { left, right, top, height }: Box,
  { theme, colour, isFaint, isSelected }: { theme: Theme; colour: string; isFaint: boolean; isSelected: boolean },
): void {
  const width = right - left;
  context.globalAlpha = isFaint ? 0.25 : 1;
  if (bar.kind === HOLD) {
    context.fillStyle = colour;
    context.fillRect(left, top, width, height);
    if (bar.shared && width > 4) {
      context.fillStyle = theme.background;
      context.fillRect(left + 1, top + 3, width - 2, height - 6);
    }
  } else {
    context.fillStyle = hatch(context, colour);
    context.fillRect(left, top, width, height);
    context.strokeStyle = colour;
    context.lineWidth = 1;
    if (width > 3) context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
  }
  if (bar.outcome > 0 && bar.outcome <= KILLED) drawCross(context, right, top + height / 2, theme.text);
  if (isSelected) {
    context.strokeStyle = theme.selection;
    context.lineWidth = 2;
    context.strokeRect(left - 1, top - 1, width + 2, height + 2);
  }
  context.globalAlpha = 1;
}

function drawCross(context: CanvasRenderingContext2D, x: number, y: number, colour: string): void {
  context.strokeStyle = colour;
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

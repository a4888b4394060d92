/** What is drawn with: hatches, texts that fit, the steps of an axis. */

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
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5, 10].find((factor) => factor * power >= least) ?? 10) * power;
}

export function axisLabel(time: number, step: number): string {
  if (step >= 1000) return `${(time / 1000).toFixed(0)} s`;
  if (time >= 1000 && step >= 1) return `${(time / 1000).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3)} s`;
  return step >= 1 ? `${time.toFixed(0)} ms` : `${time.toFixed(step >= 0.1 ? 1 : 3)} ms`;
}

/** What pointer, wheel and keys do to the lanes. */
import type { Bar } from './model.js';

export interface Range {
  from: number;
  to: number;
}

/** The lanes, as far as their user moves them. */
export interface Movable {
  readonly range: Range;
  /** Of the whole trace. */
  readonly whole: Range;
  /** ms on one pixel */
  readonly scale: number;
  zoomTo(range: Range): void;
  zoomBy(factor: number, around?: number): void;
  timeAt(x: number): number;
  barAt(event: MouseEvent): Bar | undefined;
  hover(bar: Bar | undefined, event: MouseEvent): void;
  /** A click. */
  choose(bar: Bar | undefined): void;
}

export function listen(canvas: HTMLCanvasElement, lanes: Movable): void {
  let dragFrom: { x: number; range: Range } | undefined;
  let hasMoved = false;
  canvas.addEventListener('pointerdown', (event) => {
    dragFrom = { x: event.clientX, range: lanes.range };
    hasMoved = false;
    if (event.pointerType === 'mouse') canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (dragFrom !== undefined && event.pointerType === 'mouse' && Math.abs(event.clientX - dragFrom.x) > 3) {
      hasMoved = true;
      const { from, to } = dragFrom.range;
      const moved = (dragFrom.x - event.clientX) * lanes.scale;
      lanes.zoomTo({ from: from + moved, to: to + moved });
      return;
    }
    const bar = lanes.barAt(event);
    canvas.style.cursor = bar === undefined ? 'grab' : 'pointer';
    lanes.hover(bar, event);
  });
  canvas.addEventListener('pointerleave', (event) => lanes.hover(undefined, event));
  canvas.addEventListener('pointerup', (event) => {
    if (!hasMoved) lanes.choose(lanes.barAt(event));
    dragFrom = undefined;
  });
  canvas.addEventListener('pointercancel', () => {
    dragFrom = undefined;
  });
  canvas.addEventListener('dblclick', () => lanes.zoomTo(lanes.whole));
  canvas.addEventListener(
    'wheel',
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // The page scrolls.
      event.preventDefault();
      lanes.zoomBy(Math.exp(event.deltaY / 300), lanes.timeAt(event.clientX - canvas.getBoundingClientRect().left));
    },
    { passive: false },
  );
  canvas.addEventListener('keydown', ({ key }) => {
    const { from, to } = lanes.range;
    const shift = ({ ArrowLeft: -0.2, ArrowRight: 0.2 }[key] ?? 0) * (to - from);
    if (shift !== 0) lanes.zoomTo({ from: from + shift, to: to + shift });
    else if (key === '+') lanes.zoomBy(0.5);
    else if (key === '-') lanes.zoomBy(2);
    else if (key === '0') lanes.zoomTo(lanes.whole);
    else if (key === 'Escape') lanes.choose(undefined);
  });
}

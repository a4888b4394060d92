/** The strip above the lanes: how many requests wait at each time. */
import uPlot from 'uplot';
import type { Theme } from './colours.js';
import type { Range } from './lane-input.js';
import { duration } from './model.js';

export const STRIP_HEIGHT = 96;

/** @param zoom called with what was selected of it */
export function depthPlot(
  place: HTMLElement,
  data: uPlot.AlignedData,
  theme: Theme,
  zoom: (range: Range) => void,
): uPlot {
  const axis = {
    stroke: theme.muted,
    grid: { stroke: theme.line, width: 1 },
    ticks: { show: false },
    font: '11px system-ui',
  };
  return new uPlot(
    {
      width: place.clientWidth,
      height: STRIP_HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, y: false },
      scales: { x: { time: false }, y: { range: (_plot, _least, most) => [0, Math.max(1, most)] } },
      axes: [
        { ...axis, values: (_plot, times) => times.map((time) => duration(time)), space: 80, size: 24 },
        {
          ...axis,
          size: 34,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000],
          space: 22,
          values: (_plot, counts) => counts.map((count) => (Number.isInteger(count) ? `${count}` : '')),
        },
      ],
      series: [
        {},
        {
          stroke: theme.text,
          fill: `${theme.muted}44`,
          width: 1,
          paths: (uPlot.paths.stepped as uPlot.Series.SteppedPathBuilderFactory)({ align: 1 }),
          points: { show: false },
        },
      ],
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width < 4) return;
            zoom({ from: plot.posToVal(left, 'x'), to: plot.posToVal(left + width, 'x') });
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
      },
    },
    data,
    place,
  );
}

/** Looks at other processes in small steps, since a look takes long where many processes have many open files. */
import fs from 'node:fs';
import type { Inspection } from '../core/backend.js';
import type { Parties } from '../options.js';
import { Deadline, monotonic, setImmediate } from '../timers.js';
import { read } from './proc.js';

/** It yields after each step; where it yields a path, it is to be given the text of that file. */
export type Looking<T> = Generator<string | undefined, T, string>;

/** A look in one go. Undefined where it takes longer than `budget` ms. */
export function atOnce<T>(looking: Looking<T>): T;
export function atOnce<T>(looking: Looking<T>, budget: number): T | undefined;
export function atOnce<T>(looking: Looking<T>, budget = Infinity): T | undefined {
  const deadline = new Deadline(budget);
  for (let step = looking.next(''); ; step = looking.next(step.value === undefined ? '' : read(step.value))) {
    if (step.done) return step.value;
    if (deadline.left === 0) return undefined;
  }
}

/** How long, in ms, a look may keep the event loop busy without a break. */
const SLICE_MS = 4;

/** A look that lets the event loop run. */
export async function inSmallSteps<T>(looking: Looking<T>): Promise<T> {
  let rest = monotonic();
  let text = '';
  for (;;) {
    const step = looking.next(text);
    if (step.done) return step.value;
    text = step.value === undefined ? '' : await fs.promises.readFile(step.value, 'utf8').catch(() => '');
    if (monotonic() - rest < SLICE_MS) continue;
    await new Promise<void>((resolve) => setImmediate(resolve));
    rest = monotonic();
  }
}

/** @param shared the looks that are under way, by key: requests that ask meanwhile share one */
export function inspection(
  look: () => Looking<Parties | undefined>,
  { underWay, key }: { underWay: Map<string, Promise<Parties | undefined>>; key: string },
): Inspection {
  return {
    now: (budget = Infinity) => atOnce(look(), budget),
    later() {
      const shared = underWay.get(key) ?? inSmallSteps(look()).finally(() => underWay.delete(key));
      underWay.set(key, shared);
      return shared;
    },
  };
}

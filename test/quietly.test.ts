import { expect, it } from 'vitest';
import { quietly, succeeds } from '../src/quietly.js';

const fail = (): never => {
  throw new Error('of the step');
};

it('what a step returns; undefined where it fails', () => {
  expect([quietly(() => 1), quietly(() => null), quietly(fail)]).toEqual([1, null, undefined]);
});

it('whether a step fails, whatever it returns', () => {
  expect([succeeds(() => undefined), succeeds(() => null), succeeds(fail)]).toEqual([true, true, false]);
});

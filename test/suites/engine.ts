/** What every lock service does: the cases that the package has for other engines too. */
import { it } from 'vitest';
import { type EngineSuiteOptions, engineSuite } from '../../src/testing/engine/index.js';
import { rounds } from '../support/scale.js';

export function engineCases(open: EngineSuiteOptions['open']): void {
  for (const { name, run } of engineSuite({ open, waiters: rounds(50, 1000), aborts: rounds(50, 300) })) it(name, run);
}

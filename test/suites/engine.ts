/** What every lock service does: the tests that the package has for other engines too. */
import { it } from 'vitest';
import { engineSuite } from '../../src/testing/engine/index.js';
import { rounds } from '../support/scale.js';

export function engineTests(makeEngine: Parameters<typeof engineSuite>[1]): void {
  engineSuite(it, makeEngine, { waiters: rounds(50, 1000), aborts: rounds(50, 300) });
}

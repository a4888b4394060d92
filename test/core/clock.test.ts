import { describe, expect, it } from 'vitest';
import { after as callAfter, systemClock } from '../../src/core/clock.js';
import { FakeClock } from '../support/fake-clock.js';

const LONGEST = 2 ** 31 - 1;

describe('after', () => {
  it.each([0, 1, LONGEST, LONGEST + 1, 3 * LONGEST + 7])(
    'calls back after %d ms, once, though a timer of Node is shorter',
    (ms) => {
      const clock = new FakeClock();
      let calls = 0;
      callAfter(clock, ms, () => calls++);
      if (ms > 0) clock.advance(ms - 1);
      expect(calls).toBe(0);
      clock.advance(1);
      expect(calls).toBe(1);
      clock.advance(4 * LONGEST);
      expect([calls, clock.timers]).toEqual([1, 0]);
    },
  );

  it.each([5, 2 * LONGEST])('never calls back when it was ended before, of %d ms', (ms) => {
    const clock = new FakeClock();
    const end = callAfter(clock, ms, () => {
      throw new Error('too late');
    });
    clock.advance(Math.min(ms - 1, LONGEST + 1));
    end();
    clock.advance(3 * LONGEST);
    expect(clock.timers).toBe(0);
  });
});

describe('the clock of the system', () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length;

  it('leaves no timer that was cleared', () => {
    const before = timers();
    const timer = systemClock.setTimeout(() => {}, 60_000);
    expect(timers()).toBe(before + 1);
    systemClock.clearTimeout(timer);
    expect(timers()).toBe(before);
    expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(60_000);
  });
});

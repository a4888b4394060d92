import { expect, it } from 'vitest';
import { FifoMutex, LockTimeoutError } from '../../src/index.js';
import { lockSuite } from '../suites/lock.js';
import { FakeClock } from '../support/fake-clock.js';
import { outcome, settle } from '../support/waiting.js';

lockSuite('FifoMutex', () => new FifoMutex());

it('measures its times by the clock it is given', async () => {
  const clock = new FakeClock();
  const mutex = new FifoMutex({ clock });
  const holder = await mutex.acquire();
  const waiter = outcome(mutex.acquire({ timeout: 5000 }));
  clock.advance(4999);
  await settle();
  expect(waiter.state).toBe('pending');
  clock.advance(1);
  await settle();
  expect(waiter.reason).toBeInstanceOf(LockTimeoutError);
  expect(clock.timers).toBe(0);
  holder.release();
});

it('leaves no timer when granted, and waits longer than a Node timer can', async () => {
  const clock = new FakeClock();
  const mutex = new FifoMutex({ clock });
  const holder = await mutex.acquire();
  const waiter = outcome(mutex.acquire({ timeout: 2 ** 33, onWait: () => {} }));
  clock.advance(2 ** 32);
  await settle();
  expect(waiter.state).toBe('pending');
  holder.release();
  await settle();
  expect(waiter.state).toBe('fulfilled');
  expect(clock.timers).toBe(0);
});

it('a waiter costs about a kilobyte', async () => {
  const mutex = new FifoMutex();
  const holder = await mutex.acquire();
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  // So many that what the runner itself keeps meanwhile is a small part of it.
  const waiters = Array.from({ length: 100_000 }, () => mutex.acquire());
  globalThis.gc?.();
  const each = (process.memoryUsage().heapUsed - before) / waiters.length;
  // 870 to 1 000 were seen: promises cost more where a program, or a test before this one, looks at async contexts.
  expect(each).toBeLessThan(1500);
  holder.release();
  for (const waiter of waiters) (await waiter).release();
});

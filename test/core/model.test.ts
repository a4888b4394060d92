import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pathState } from '../../src/backends/path-state.js';
import { selectBackend } from '../../src/backends/select.js';
import type { Clock } from '../../src/core/clock.js';
import { LockCore } from '../../src/core/lock-core.js';
import { LockPlace } from '../../src/files/lock-place.js';
import { FifoMutex, type LockHandle } from '../../src/index.js';
import { lockOptions } from '../../src/validate.js';
import { FakeClock } from '../support/fake-clock.js';
import { testFolder } from '../support/paths.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path } = testFolder();

interface Subject {
  acquire(options: { timeout?: number; signal?: AbortSignal }): Promise<LockHandle>;
  tryAcquire(): LockHandle | null;
}

const subjects: Record<string, (clock: Clock) => Subject> = {
  FifoMutex: (clock) => new FifoMutex({ clock }),
  'a lock on a file': (clock) => {
    const file = path();
    const state = pathState({ path: file });
    const options = { ...lockOptions({}), followsReplacement: false, directories: true };
    const lock = new LockCore(file, state.queue, selectBackend(new LockPlace(file, options), options, state), clock);
    return {
      acquire: (options) => lock.acquire('exclusive', options),
      tryAcquire: () => lock.tryAcquire('exclusive') as LockHandle | null,
    };
  },
};

type Step =
  | { do: 'acquire'; timeout: number }
  | { do: 'tryAcquire' }
  | { do: 'release' }
  | { do: 'abort'; which: number }
  | { do: 'advance'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('acquire' as const), timeout: fc.integer({ min: 1, max: 50 }) }),
  fc.constant({ do: 'tryAcquire' as const }),
  fc.constant({ do: 'release' as const }),
  fc.constant({ do: 'release' as const }),
  fc.record({ do: fc.constant('abort' as const), which: fc.nat(20) }),
  fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 20 }) }),
);

/** A FIFO lock in the plainest words: the holder, the waiters with their deadlines, and what became of each request. */
class Model {
  now = 0;
  holder: number | undefined;
  queue: { id: number; deadline: number }[] = [];
  readonly fate: ('pending' | 'fulfilled' | 'rejected')[] = [];

  acquire(timeout: number): void {
    const id = this.fate.push('pending') - 1;
    this.queue.push({ id, deadline: this.now + timeout });
    this.#serve();
  }
  tryAcquire(): boolean {
    if (this.holder !== undefined) return false;
    this.holder = -1;
    return true;
  }
  release(): void {
    this.holder = undefined;
    this.#serve();
  }
  abort(id: number): void {
    if (this.queue.some((one) => one.id === id)) this.#reject((one) => one.id === id);
  }
  advance(ms: number): void {
    this.now += ms;
    this.#reject((one) => one.deadline <= this.now);
  }
  #reject(test: (one: { id: number; deadline: number }) => boolean): void {
    for (const { id } of this.queue.filter(test)) this.fate[id] = 'rejected';
    this.queue = this.queue.filter((one) => !test(one));
  }
  #serve(): void {
    if (this.holder !== undefined) return;
    const next = this.queue.shift();
    if (next === undefined) return;
    this.holder = next.id;
    this.fate[next.id] = 'fulfilled';
  }
}

describe.each(Object.entries(subjects))('%s against a plain model', (_name, create) => {
  it('behaves the same in every sequence of acquire, tryAcquire, abort, timeout and release', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clock = new FakeClock();
        const subject = create(clock);
        const model = new Model();
        const requests: { seen: ReturnType<typeof outcome<LockHandle>>; controller: AbortController }[] = [];
        let tried: LockHandle | null = null;
        for (const one of steps) {
          if (one.do === 'acquire') {
            const controller = new AbortController();
            requests.push({
              seen: outcome(subject.acquire({ timeout: one.timeout, signal: controller.signal })),
              controller,
            });
            model.acquire(one.timeout);
          } else if (one.do === 'tryAcquire') {
            const handle = subject.tryAcquire();
            expect(handle !== null).toBe(model.tryAcquire());
            tried = handle ?? tried;
          } else if (one.do === 'release') {
            (model.holder === -1 ? tried : requests[model.holder ?? -1]?.seen.value)?.release();
            model.release();
          } else if (one.do === 'abort') {
            requests[one.which]?.controller.abort();
            model.abort(one.which);
          } else {
            clock.advance(one.ms);
            model.advance(one.ms);
          }
          // A timeout leaves the queue at once; its error comes when the holders have been looked up.
          await until(() => !requests.some(({ seen }, i) => seen.state === 'pending' && model.fate[i] === 'rejected'));
          await settle();
          expect(requests.map(({ seen }) => seen.state)).toEqual(model.fate);
        }
        // Leave nothing behind.
        for (const { controller } of requests) controller.abort();
        tried?.release();
        for (const { seen } of requests) seen.value?.release();
        await settle();
        expect(clock.timers).toBe(0);
        subject.tryAcquire()?.release();
      }),
      { numRuns: 150 },
    );
  });
});

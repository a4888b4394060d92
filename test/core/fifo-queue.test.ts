import { describe, expect, it } from 'vitest';
import { FifoQueue, Waiter } from '../../src/core/fifo-queue.js';
import type { LockMode } from '../../src/options.js';

/** Enters, and is told in either way that it is the head. */
function enter(queue: FifoQueue, waiter: Recorded): void {
  if (queue.enter(waiter)) waiter.onHead();
}

class Recorded extends Waiter {
  constructor(
    readonly name: string,
    readonly mode: LockMode,
    readonly log: string[],
    readonly then: (self: Recorded) => void = () => {},
  ) {
    super();
  }

  override onHead(): void {
    this.log.push(this.name);
    this.then(this);
  }
}

describe('FifoQueue', () => {
  it('has one head at a time, and the head alone competes', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const [a, b] = [new Recorded('a', 'exclusive', log), new Recorded('b', 'exclusive', log)];
    enter(queue, a);
    enter(queue, b);
    expect(log).toEqual(['a']);
    expect([queue.waiting, queue.holders, queue.isFree('exclusive')]).toEqual([2, 0, false]);
    queue.acquired(a);
    expect([queue.waiting, queue.holders]).toEqual([1, 1]);
    queue.released('exclusive');
    expect(log).toEqual(['a', 'b']);
  });

  it('lets consecutive readers in together; a waiting writer stops later readers', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const grant = (waiter: Recorded): void => queue.acquired(waiter);
    for (const name of ['r1', 'r2', 'w1', 'r3', 'r4', 'w2'])
      enter(queue, new Recorded(name, name.startsWith('r') ? 'shared' : 'exclusive', log, grant));
    expect(log).toEqual(['r1', 'r2']);
    expect(queue.isFree('shared')).toBe(false);
    queue.released('shared');
    expect(log).toEqual(['r1', 'r2']);
    queue.released('shared');
    expect(log).toEqual(['r1', 'r2', 'w1']);
    queue.released('exclusive');
    expect(log).toEqual(['r1', 'r2', 'w1', 'r3', 'r4']);
  });

  it('readers behind a writer that cancels are admitted at once', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const grant = (waiter: Recorded): void => queue.acquired(waiter);
    queue.hold('shared');
    const writer = new Recorded('w', 'exclusive', log);
    enter(queue, writer);
    enter(queue, new Recorded('r', 'shared', log, grant));
    expect(log).toEqual([]);
    queue.leave(writer);
    expect(log).toEqual(['r']);
    expect(queue.holders).toBe(2);
  });

  it('leaving works from every place, and twice', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const all = ['a', 'b', 'c', 'd'].map((name) => new Recorded(name, 'exclusive', log));
    for (const one of all) enter(queue, one);
    const [a, b, c, d] = all as [Recorded, Recorded, Recorded, Recorded];
    queue.leave(b);
    queue.leave(b);
    queue.leave(d);
    expect([...queue]).toEqual([a, c]);
    queue.leave(a);
    expect(log).toEqual(['a', 'c']);
    queue.leave(c);
    expect([queue.waiting, queue.isFree('exclusive')]).toEqual([0, true]);
  });

  it('100 000 waiters that all fail in their turn do not fill the stack', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const first = new Recorded('first', 'exclusive', []);
    enter(queue, first);
    for (let i = 0; i < 100_000; i++) enter(queue, new Recorded('x', 'exclusive', log, (self) => queue.leave(self)));
    queue.leave(first);
    expect(log.length).toBe(100_000);
    expect(queue.isFree('exclusive')).toBe(true);
  });

  it('only the head can be granted', () => {
    const queue = new FifoQueue();
    enter(queue, new Recorded('a', 'exclusive', []));
    const second = new Recorded('b', 'exclusive', []);
    enter(queue, second);
    expect(() => queue.acquired(second)).toThrow('not the head');
  });

  it('is not free while its head competes, nor while a writer holds; readers are let in beside readers only', () => {
    const queue = new FifoQueue();
    const head = new Recorded('head', 'exclusive', []);
    enter(queue, head);
    expect([queue.isFree('shared'), queue.isFree('exclusive')]).toEqual([false, false]);
    queue.acquired(head);
    expect([queue.isFree('shared'), queue.isFree('exclusive')]).toEqual([false, false]);
    queue.released('exclusive');
    queue.hold('shared');
    expect([queue.isFree('shared'), queue.isFree('exclusive')]).toEqual([true, false]);
  });

  it('exchange admits no waiter until all of it is done, also when it throws, and when it is nested', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    queue.hold('exclusive');
    enter(queue, new Recorded('waiter', 'exclusive', log));
    const result = queue.exchange(() => {
      queue.released('exclusive');
      queue.exchange(() => queue.hold('exclusive'));
      expect(log).toEqual([]);
      return 'new holder';
    });
    expect([result, log, queue.holders]).toEqual(['new holder', [], 1]);
    const fail = (): void =>
      queue.exchange(() => {
        queue.released('exclusive');
        throw new Error('no');
      });
    expect(fail).toThrow('no');
    expect(log).toEqual(['waiter']);
  });
});

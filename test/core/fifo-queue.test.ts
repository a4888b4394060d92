import { describe, expect, it } from 'vitest';
import { FifoQueue, Waiter } from '../../src/core/fifo-queue.js';

class Recorded extends Waiter {
  constructor(
    readonly name: string,
    readonly shared: boolean,
    readonly log: string[],
    readonly then: (self: Recorded) => void = () => {},
  ) {
    super();
  }

  override onTurn(): void {
    this.log.push(this.name);
    this.then(this);
  }
}

describe('FifoQueue', () => {
  it('has one head at a time, and the head alone competes', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const [a, b] = [new Recorded('a', false, log), new Recorded('b', false, log)];
    queue.enter(a);
    queue.enter(b);
    expect(log).toEqual(['a']);
    expect([queue.waiting, queue.holders, queue.isFree(false)]).toEqual([2, 0, false]);
    queue.granted(a);
    expect([queue.waiting, queue.holders]).toEqual([1, 1]);
    queue.released(false);
    expect(log).toEqual(['a', 'b']);
  });

  it('lets consecutive readers in together; a waiting writer stops later readers', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const grant = (waiter: Recorded): void => queue.granted(waiter);
    for (const name of ['r1', 'r2', 'w1', 'r3', 'r4', 'w2'])
      queue.enter(new Recorded(name, name.startsWith('r'), log, grant));
    expect(log).toEqual(['r1', 'r2']);
    expect(queue.isFree(true)).toBe(false);
    queue.released(true);
    expect(log).toEqual(['r1', 'r2']);
    queue.released(true);
    expect(log).toEqual(['r1', 'r2', 'w1']);
    queue.released(false);
    expect(log).toEqual(['r1', 'r2', 'w1', 'r3', 'r4']);
  });

  it('readers behind a writer that gives up come in at once', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const grant = (waiter: Recorded): void => queue.granted(waiter);
    queue.hold(true);
    const writer = new Recorded('w', false, log);
    queue.enter(writer);
    queue.enter(new Recorded('r', true, log, grant));
    expect(log).toEqual([]);
    queue.leave(writer);
    expect(log).toEqual(['r']);
    expect(queue.holders).toBe(2);
  });

  it('leaving works from every place, and twice', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const all = ['a', 'b', 'c', 'd'].map((name) => new Recorded(name, false, log));
    for (const one of all) queue.enter(one);
    const [a, b, c, d] = all as [Recorded, Recorded, Recorded, Recorded];
    queue.leave(b);
    queue.leave(b);
    queue.leave(d);
    expect([...queue]).toEqual([a, c]);
    queue.leave(a);
    expect(log).toEqual(['a', 'c']);
    queue.leave(c);
    expect([queue.waiting, queue.isFree(false)]).toEqual([0, true]);
  });

  it('100 000 waiters that all fail in their turn do not fill the stack', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    const first = new Recorded('first', false, []);
    queue.enter(first);
    for (let i = 0; i < 100_000; i++) queue.enter(new Recorded('x', false, log, (self) => queue.leave(self)));
    queue.leave(first);
    expect(log.length).toBe(100_000);
    expect(queue.isFree(false)).toBe(true);
  });

  it('only the head can be granted', () => {
    const queue = new FifoQueue();
    queue.enter(new Recorded('a', false, []));
    const second = new Recorded('b', false, []);
    queue.enter(second);
    expect(() => queue.granted(second)).toThrow('not the head');
  });

  it('is not free while its head competes, nor while a writer holds; readers are let in beside readers only', () => {
    const queue = new FifoQueue();
    const head = new Recorded('head', false, []);
    queue.enter(head);
    expect([queue.isFree(true), queue.isFree(false)]).toEqual([false, false]);
    queue.granted(head);
    expect([queue.isFree(true), queue.isFree(false)]).toEqual([false, false]);
    queue.released(false);
    queue.hold(true);
    expect([queue.isFree(true), queue.isFree(false)]).toEqual([true, false]);
  });

  it('exchange lets nobody in until all of it is done, also when it throws, and when it is nested', () => {
    const queue = new FifoQueue();
    const log: string[] = [];
    queue.hold(false);
    queue.enter(new Recorded('waiter', false, log));
    const result = queue.exchange(() => {
      queue.released(false);
      queue.exchange(() => queue.hold(false));
      expect(log).toEqual([]);
      return 'new holder';
    });
    expect([result, log, queue.holders]).toEqual(['new holder', [], 1]);
    const fail = (): void =>
      queue.exchange(() => {
        queue.released(false);
        throw new Error('no');
      });
    expect(fail).toThrow('no');
    expect(log).toEqual(['waiter']);
  });
});

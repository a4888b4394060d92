/** One waiting request, in front of a backend in memory that grants and fails when it is told to. */
import { describe, expect, it } from 'vitest';
import { inProcess } from '../../src/backends/in-process.js';
import {
  type Backend,
  type Done,
  type Grant,
  type Inspection,
  NO_INSPECTION,
  type PendingAcquire,
} from '../../src/core/backend.js';
import { FifoQueue } from '../../src/core/fifo-queue.js';
import { LockCore } from '../../src/core/lock-core.js';
import type { LockHandle, WaitInfo } from '../../src/index.js';
import { FakeClock } from '../support/fake-clock.js';
import { outcome, settle, until } from '../support/waiting.js';

/** A lock of this process that others may hold, and that records what is asked of it. */
class Manual implements Backend {
  readonly name = undefined;
  readonly capabilities = { ...inProcess.capabilities };
  readonly asked: string[] = [];
  heldElsewhere = true;
  refusal: Error | undefined;
  waiting: Done | undefined;

  readonly #grant: Grant = {
    fd: undefined,
    unlock: () => void this.asked.push('unlock'),
    check: () => {},
    watch: () => () => {},
  };

  tryAcquire(): Grant | null {
    this.asked.push('try');
    return this.heldElsewhere ? null : this.#grant;
  }
  request(): PendingAcquire {
    return {
      start: (done, justTried) => {
        const grant = justTried ? null : this.tryAcquire();
        if (grant !== null) return done(undefined, grant);
        this.asked.push('wait');
        if (this.refusal !== undefined) return done(this.refusal);
        this.waiting = done;
      },
      cancel: () => {
        if (this.waiting !== undefined) this.asked.push('cancel');
        this.waiting = undefined;
      },
    };
  }
  isLocked(): boolean {
    return this.heldElsewhere;
  }
  inspect(): Inspection {
    return NO_INSPECTION;
  }
  dispose(): void {}

  grant(): void {
    const done = this.waiting;
    this.waiting = undefined;
    done?.(undefined, this.#grant);
  }
  fail(error: Error): void {
    const done = this.waiting;
    this.waiting = undefined;
    done?.(error);
  }
}

function create(path?: string): { manual: Manual; clock: FakeClock; lock: LockCore } {
  const [manual, clock] = [new Manual(), new FakeClock()];
  return { manual, clock, lock: new LockCore(path, new FifoQueue(), manual, clock) };
}

describe('a request', () => {
  it('that comes first has just tried, and waits without trying again', async () => {
    const { manual, lock } = create();
    const first = lock.acquire('exclusive', {});
    expect(manual.asked).toEqual(['try', 'wait']);
    manual.grant();
    (await first).release();
    expect(manual.asked).toEqual(['try', 'wait', 'unlock']);
  });

  it('whose turn comes later tries first, and is granted without a wait if that will do', async () => {
    const { manual, lock } = create();
    const [first, second, third] = [
      lock.acquire('exclusive', {}),
      lock.acquire('exclusive', {}),
      lock.acquire('exclusive', {}),
    ];
    expect(manual.asked).toEqual(['try', 'wait']);
    manual.grant();
    const handle = await first;
    handle.release();
    await settle();
    expect(manual.asked).toEqual(['try', 'wait', 'unlock', 'try', 'wait']);
    manual.grant();
    manual.heldElsewhere = false;
    (await second).release();
    (await third).release();
    expect(manual.asked.slice(5)).toEqual(['unlock', 'try', 'unlock']);
  });

  it('rejects with the error of its wait, and the next one goes on', async () => {
    const { manual, lock } = create();
    const [first, second] = [lock.acquire('exclusive', {}), lock.acquire('exclusive', {})];
    const error = new Error('EIO');
    manual.fail(error);
    await expect(first).rejects.toBe(error);
    manual.grant();
    (await second).release();
  });

  it('rejects with what the beginning of its wait throws, and the next one goes on', async () => {
    const { manual, lock } = create();
    manual.refusal = new Error('EMFILE');
    await expect(lock.acquire('exclusive', {})).rejects.toBe(manual.refusal);
    manual.refusal = undefined;
    const next = lock.acquire('exclusive', {});
    manual.grant();
    (await next).release();
    expect(lock.queue.waiting).toBe(0);
  });

  it('that is cancelled ends its wait before the next one begins its own', async () => {
    const { manual, clock, lock } = create();
    const first = lock.acquire('exclusive', { timeout: 10 });
    const second = lock.acquire('exclusive', {});
    clock.advance(10);
    await expect(first).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT', timeout: 10 });
    expect(manual.asked).toEqual(['try', 'wait', 'cancel', 'try', 'wait']);
    manual.grant();
    (await second).release();
  });

  it('that was granted cannot be cancelled any more, and leaves no timer and no listener', async () => {
    const { manual, clock, lock } = create();
    const controller = new AbortController();
    const seen = outcome(
      lock.acquire('exclusive', { timeout: 10, signal: controller.signal, onWait: () => {}, waitNotice: 5 }),
    );
    expect(clock.timers).toBe(2);
    manual.grant();
    expect(clock.timers).toBe(0);
    controller.abort(new Error('too late'));
    clock.advance(100);
    await until(() => seen.state === 'fulfilled');
    seen.value?.release();
    expect(manual.asked).toEqual(['try', 'wait', 'unlock']);
  });

  it('that was cancelled is told of nothing more', async () => {
    const { manual, clock, lock } = create();
    const told: WaitInfo[] = [];
    const controller = new AbortController();
    const seen = outcome(
      lock.acquire('exclusive', {
        timeout: 10,
        signal: controller.signal,
        onWait: (info) => told.push(info),
        waitNotice: 20,
      }),
    );
    controller.abort('enough');
    clock.advance(100);
    lock.close();
    await until(() => seen.state === 'rejected');
    expect([seen.reason, told, clock.timers, manual.asked]).toEqual(['enough', [], 0, ['try', 'wait', 'cancel']]);
  });

  it.each([undefined, Infinity])('has no timer without a timeout (%s) and a notice', async (timeout) => {
    const { manual, clock, lock } = create();
    const wait = lock.acquire('exclusive', {
      ...(timeout === undefined ? {} : { timeout }),
      onWait: () => {},
      waitNotice: Infinity,
    });
    expect(clock.timers).toBe(0);
    manual.grant();
    (await wait).release();
  });

  it('onWait comes after a second if nothing else is said, and after waitNotice ms, also 0', async () => {
    const { manual, clock, lock } = create();
    const told: string[] = [];
    const waits = [
      lock.acquire('exclusive', { onWait: ({ ahead }) => told.push(`a second, ${ahead} ahead`) }),
      lock.acquire('exclusive', { onWait: ({ ahead }) => told.push(`at once, ${ahead} ahead`), waitNotice: 0 }),
    ];
    clock.advance(0);
    expect(told).toEqual(['at once, 1 ahead']);
    clock.advance(999);
    expect(told.length).toBe(1);
    clock.advance(1);
    expect(told).toEqual(['at once, 1 ahead', 'a second, 0 ahead']);
    manual.grant();
    (await waits[0])?.release();
    await settle();
    manual.grant();
    (await waits[1])?.release();
  });

  it('onWait that throws rejects it with that, whether the holders are looked up or not', async () => {
    for (const path of [undefined, '/nowhere/lock']) {
      const { manual, clock, lock } = create(path);
      const error = new Error('not me');
      const wait = lock.acquire('exclusive', {
        waitNotice: 1,
        onWait: () => {
          throw error;
        },
      });
      clock.advance(1);
      await expect(wait).rejects.toBe(error);
      expect(manual.asked).toEqual(['try', 'wait', 'cancel']);
    }
  });

  it('onWait is not called any more if the lock was granted while the holders were looked up', async () => {
    const { manual, clock, lock } = create('/nowhere/lock');
    const told: WaitInfo[] = [];
    const wait = lock.acquire('exclusive', { waitNotice: 1, onWait: (info) => told.push(info) });
    clock.advance(1);
    manual.grant();
    const handle: LockHandle = await wait;
    // A look of its own is over when this one is, which began later.
    await lock.status.later();
    await settle();
    expect(told).toEqual([]);
    handle.release();
  });

  it('of a path names a holder that cannot be seen when it times out, and gives up its place at once', async () => {
    const { manual, clock, lock } = create('/nowhere/lock');
    const wait = lock.acquire('exclusive', { timeout: 5 });
    const next = lock.acquire('exclusive', {});
    clock.advance(5);
    expect(manual.asked).toEqual(['try', 'wait', 'cancel', 'try', 'wait']);
    await expect(wait).rejects.toMatchObject({
      code: 'ERR_LOCK_TIMEOUT',
      path: '/nowhere/lock',
      holders: [{ pid: 0, shared: false }],
      waiters: 1,
    });
    manual.grant();
    (await next).release();
  });

  it('that is closed while it waits rejects, and those behind it do not get its turn first', async () => {
    const { manual, lock } = create();
    const waits = [1, 2, 3].map(() => lock.acquire('exclusive', {}).catch((error: { code: string }) => error.code));
    lock.close();
    expect(await Promise.all(waits)).toEqual(Array(3).fill('ERR_LOCK_CLOSED'));
    expect(manual.asked).toEqual(['try', 'wait', 'cancel']);
  });
});

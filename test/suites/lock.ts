/** What every exclusive lock of this library does, whatever is behind it. */
import { describe, expect, it } from 'vitest';
import { type AcquireOptions, LockClosedError, type LockHandle, LockTimeoutError } from '../../src/index.js';
import { rounds } from '../support/scale.js';
import { outcome, settle, until } from '../support/waiting.js';

export interface ExclusiveLock extends Disposable {
  readonly held: boolean;
  acquire(options?: AcquireOptions): Promise<LockHandle>;
  /** A promise where what is behind the lock answers later. */
  tryAcquire(): LockHandle | null | Promise<LockHandle | null>;
  withLock<T>(fn: (handle: LockHandle) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>;
  close(): void;
}

/** `waiters`: how many take part in the long queue, where a grant is dear. */
export function lockSuite(name: string, create: () => ExclusiveLock, waiters = rounds(300, 10_000)): void {
  describe(name, () => {
    it('is held from acquire to release', async () => {
      const lock = create();
      const handle = await lock.acquire();
      expect([lock.held, handle.released, handle.shared]).toEqual([true, false, false]);
      expect(await lock.tryAcquire()).toBeNull();
      handle.release();
      expect([lock.held, handle.released]).toEqual([false, true]);
      const again = await lock.tryAcquire();
      expect(again?.released).toBe(false);
      again?.release();
    });

    it('serves waiters in order of arrival', async () => {
      const lock = create();
      const order: number[] = [];
      const first = await lock.acquire();
      const all = Array.from({ length: 50 }, (_, i) => lock.withLock(() => void order.push(i)));
      first.release();
      await Promise.all(all);
      expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
    });

    it('is never overtaken by a holder that releases and asks again, in whatever microtask', async () => {
      for (let microtasks = 0; microtasks < 8; microtasks++) {
        const lock = create();
        const order: string[] = [];
        const holder = await lock.acquire();
        const waiter = lock.acquire().then((handle) => {
          order.push('waiter');
          return handle;
        });
        holder.release();
        for (let i = 0; i < microtasks; i++) await null;
        const tried = order.length === 0 ? lock.tryAcquire() : null;
        const again = lock.acquire().then((handle) => {
          order.push('again');
          return handle;
        });
        expect(await tried).toBeNull();
        (await waiter).release();
        (await again).release();
        expect(order).toEqual(['waiter', 'again']);
      }
    });

    it('hands over to exactly the next waiter', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const [second, third] = [outcome(lock.acquire()), outcome(lock.acquire())];
      holder.release();
      await until(() => second.state === 'fulfilled');
      await settle();
      expect(third.state).toBe('pending');
      second.value?.release();
      await until(() => third.state === 'fulfilled');
      third.value?.release();
    });

    it('times out, and the request that timed out disturbs no other', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const impatient = lock.acquire({ timeout: 1 });
      const patient = lock.acquire();
      await expect(impatient).rejects.toThrow(LockTimeoutError);
      await expect(impatient).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT', name: 'LockTimeoutError' });
      holder.release();
      (await patient).release();
      expect(lock.held).toBe(false);
    });

    it('with timeout 0 tries once, in turn', async () => {
      const lock = create();
      const holder = await lock.acquire({ timeout: 0 });
      await expect(lock.acquire({ timeout: 0 })).rejects.toThrow(LockTimeoutError);
      const waiter = lock.acquire();
      holder.release();
      await expect(lock.acquire({ timeout: 0 })).rejects.toThrow(LockTimeoutError);
      (await waiter).release();
    });

    it('rejects with the reason of an aborted signal and leaves no listener', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const controller = new AbortController();
      const reason = new Error('enough');
      const aborted = expect(lock.acquire({ signal: controller.signal })).rejects.toBe(reason);
      controller.abort(reason);
      await aborted;
      await expect(lock.acquire({ signal: controller.signal })).rejects.toBe(reason);
      holder.release();
      expect(lock.held).toBe(false);
      // Once granted, an abort changes nothing.
      const late = new AbortController();
      const handle = await lock.acquire({ signal: late.signal });
      late.abort();
      expect([handle.released, lock.held]).toEqual([false, true]);
      handle.release();
    });

    it('an abort in the turn of the grant finds the lock granted, and it can be given back', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const controller = new AbortController();
      const waiting = lock.acquire({ signal: controller.signal });
      holder.release();
      controller.abort();
      const result = await waiting.catch(() => undefined);
      result?.release();
      await settle();
      const next = await lock.acquire();
      expect(lock.held).toBe(true);
      next.release();
    });

    it('release is bound, idempotent and does not free the next holder', async () => {
      const lock = create();
      const { release } = await lock.acquire();
      release();
      const next = await lock.acquire();
      release();
      expect(next.released).toBe(false);
      expect(await lock.tryAcquire()).toBeNull();
      next.release();
    });

    it('withLock passes results and errors on and always releases', async () => {
      const lock = create();
      expect(await lock.withLock(async (handle) => (handle.released ? 'released' : 'held'))).toBe('held');
      await expect(
        lock.withLock(() => {
          throw new Error('inside');
        }),
      ).rejects.toThrow('inside');
      expect(lock.held).toBe(false);
      await expect(lock.withLock(undefined as never)).rejects.toThrow(TypeError);
    });

    it('works with using and await using', async () => {
      const lock = create();
      {
        using handle = await lock.acquire();
        expect([handle.released, lock.held]).toEqual([false, true]);
      }
      expect(lock.held).toBe(false);
      {
        await using handle = await lock.acquire();
        expect(handle.released).toBe(false);
      }
      expect(lock.held).toBe(false);
    });

    it('close rejects the waiters, keeps what is held, and refuses new requests', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const waiters = [lock.acquire(), lock.acquire(), lock.acquire()].map((one) =>
        expect(one).rejects.toThrow(LockClosedError),
      );
      lock.close();
      await Promise.all(waiters);
      expect([holder.released, lock.held]).toEqual([false, true]);
      await expect(lock.acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
      await expect((async () => lock.tryAcquire())()).rejects.toThrow(LockClosedError);
      holder.release();
      expect(lock.held).toBe(false);
      lock[Symbol.dispose]();
    });

    it('onWait is called once, after waitNotice, and what it throws rejects the wait', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const ahead = lock.acquire();
      const info = await new Promise<{ ahead: number; holders: { pid: number }[] }>((resolve) => {
        lock.acquire({ waitNotice: 1, onWait: resolve }).then((handle) => handle.release());
      });
      expect(info.ahead).toBe(1);
      expect(info.holders.map((one) => one.pid)).toContain(process.pid);
      const broken = lock.acquire({
        waitNotice: 1,
        onWait: () => {
          throw new Error('no patience');
        },
      });
      await expect(broken).rejects.toThrow('no patience');
      holder.release();
      (await ahead).release();
    });

    it('refuses bad options before anything is touched', async () => {
      const lock = create();
      const bad: [unknown, ErrorConstructor][] = [
        [{ timeout: -1 }, RangeError],
        [{ timeout: Number.NaN }, RangeError],
        [{ timeout: '5' }, TypeError],
        [{ signal: {} }, TypeError],
        [{ onWait: 1 }, TypeError],
        [{ waitNotice: -1 }, RangeError],
        [7, TypeError],
        [null, TypeError],
      ] as never;
      for (const [options, error] of bad) await expect(lock.acquire(options as AcquireOptions)).rejects.toThrow(error);
      expect(lock.held).toBe(false);
    });

    it('a long queue, a third of them aborted or timed out at random: the rest in exact order', async () => {
      const lock = create();
      const holder = await lock.acquire();
      const served: number[] = [];
      const leavers = new Set<number>();
      while (leavers.size < 0.3 * waiters) leavers.add(Math.floor(Math.random() * waiters));
      const failed: Promise<unknown>[] = [];
      const controllers: AbortController[] = [];
      const all = Array.from({ length: waiters }, (_, i) => {
        const controller = new AbortController();
        const byTimeout = leavers.has(i) && i % 2 === 0;
        if (leavers.has(i) && !byTimeout) controllers.push(controller);
        const wait = lock.withLock(
          () => void served.push(i),
          byTimeout ? { timeout: 1 } : { signal: controller.signal },
        );
        if (leavers.has(i)) failed.push(wait.catch(() => 'left'));
        return wait.catch(() => {});
      });
      for (const controller of controllers) controller.abort();
      expect(new Set(await Promise.all(failed))).toEqual(new Set(['left']));
      holder.release();
      await Promise.all(all);
      expect(served).toEqual(Array.from({ length: waiters }, (_, i) => i).filter((i) => !leavers.has(i)));
    });
  });
}

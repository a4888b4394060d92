import { describe, expect, it } from 'vitest';
import { InterProcessLock, type WaitInfo } from '../../src/index.js';
import { hasFcntl, hasFlock, hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor } from '../support/programs.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();

describe.each([
  ['flock', hasFlock && hasParking],
  ['fcntl', hasFcntl],
] as const)('inspect, %s', (mechanism, available) => {
  it.runIf(available)('tells the holders and waiters, of all processes', async () => {
    const lock = new InterProcessLock(path(), { mechanism });
    const [holder, waiter] = [Actor.start(), Actor.start()];
    for (const actor of [holder, waiter]) await actor.call('create', 'InterProcessLock', lock.path, { mechanism });
    await holder.call('acquire');
    const waiting = waiter.call('acquire');
    const seen = await until(() => {
      const { holders, waiters } = lock.inspect();
      return waiters.length > 0 && { holders, waiters };
    });
    expect(seen.holders).toEqual([
      { pid: holder.child.pid, command: expect.stringContaining('actor.mjs'), shared: false },
    ]);
    expect(seen.waiters).toEqual([
      { pid: waiter.child.pid, command: expect.stringContaining('actor.mjs'), shared: false },
    ]);
    // Our own wait stands first: this thread knows its queue.
    const info = await new Promise<WaitInfo>((resolve) => {
      lock.acquire({ waitNotice: 0, onWait: resolve }).then(
        (handle) => handle.release(),
        () => {},
      );
    });
    expect(info).toMatchObject({ path: lock.path, ahead: 0, holders: [{ pid: holder.child.pid }] });
    expect(info.since).toBeInstanceOf(Date);
    lock.close();
    await holder.call('release');
    await waiting;
    expect(lock.inspect().holders).toEqual([expect.objectContaining({ pid: waiter.child.pid })]);
    await waiter.call('release');
    expect(lock.inspect()).toMatchObject({ path: lock.path, mechanism, held: false, holders: [], waiters: [] });
  });
});

describe('inspect', () => {
  it('tells which layers serve, and this thread alone where the kernel knows nothing', async () => {
    const lock = new InterProcessLock(path(), { mechanism: 'lockfile' });
    const handle = await lock.acquire();
    const waiting = lock.acquire();
    expect(lock.inspect()).toEqual({
      path: lock.path,
      mechanism: 'lockfile',
      fairness: 'kernel',
      layers: { lock: 'proper-lockfile', wait: 'poll' },
      held: true,
      holders: [{ pid: process.pid, command: expect.any(String), shared: false }],
      waiters: [{ pid: process.pid, command: expect.any(String), shared: false }],
    });
    handle.release();
    (await waiting).release();
  });
});

import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LockPlace } from '../../src/files/lock-place.js';
import { InterProcessLock, InterProcessSemaphore, type LockHandle, lockBeside } from '../../src/index.js';
import { LockManager } from '../../src/web-locks/index.js';
import { hasFcntl, hasFlock } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor } from '../support/programs.js';
import { outcome, settle, until } from '../support/waiting.js';

const { path } = testFolder();

interface Subject {
  acquire(): Promise<LockHandle>;
}

/** Each kind of lock at a path: an object of this process, and how an actor makes its like. */
const kinds: Record<string, { make(at: string): Subject; actor: unknown[]; unless?: boolean }> = {
  flock: { make: (at) => new InterProcessLock(at), actor: ['InterProcessLock', {}], unless: !hasFlock },
  fcntl: {
    make: (at) => new InterProcessLock(at, { mechanism: 'fcntl' }),
    actor: ['InterProcessLock', { mechanism: 'fcntl' }],
    unless: !hasFcntl,
  },
  fifo: {
    make: (at) => new InterProcessLock(at, { fairness: 'fifo' }),
    actor: ['InterProcessLock', { fairness: 'fifo' }],
    unless: !hasFcntl,
  },
  lockfile: {
    make: (at) => new InterProcessLock(at, { mechanism: 'lockfile' }),
    actor: ['InterProcessLock', { mechanism: 'lockfile' }],
  },
  semaphore: {
    make: (at) => new InterProcessSemaphore(at, { permits: 1 }),
    actor: ['InterProcessSemaphore', { permits: 1 }],
    unless: !hasFcntl,
  },
  lockBeside: { make: (at) => lockBeside(at), actor: ['lockBeside', {}] },
  'lockBeside, lockfile': {
    make: (at) => lockBeside(at, { mechanism: 'lockfile' }),
    actor: ['lockBeside', { mechanism: 'lockfile' }],
  },
};

/** Releases of a program, and the link by which it is used. */
function deployment(): { current: string; deploy(release: string): void } {
  const folder = path();
  for (const release of ['one', 'two']) {
    mkdirSync(join(folder, release), { recursive: true });
    writeFileSync(join(folder, release, 'state.json'), '');
  }
  const current = join(folder, 'current');
  const deploy = (release: string): void => {
    symlinkSync(release, `${current}.new`);
    renameSync(`${current}.new`, current);
  };
  deploy('one');
  return { current, deploy };
}

describe('a link that is pointed elsewhere', () => {
  for (const [name, { make, actor, unless = false }] of Object.entries(kinds)) {
    const [kind, options] = actor;

    it.skipIf(unless)(`${name}: an object from before and a new process exclude each other`, async () => {
      const { current, deploy } = deployment();
      const at = join(current, 'state.json');
      const subject = make(at);
      (await subject.acquire()).release();
      deploy('two');
      const other = Actor.start();
      await other.call('create', kind, at, options);
      const handle = await subject.acquire();
      expect(await other.call('tryAcquire')).toBe(false);
      handle.release();
      expect(await other.call('tryAcquire')).toBe(true);
    });

    it.skipIf(unless)(`${name}: a waiter from before is granted the new lock, not the old one`, async () => {
      const { current, deploy } = deployment();
      const at = join(current, 'state.json');
      const [holder, other] = [Actor.start(), Actor.start()];
      for (const one of [holder, other]) await one.call('create', kind, at, options);
      await holder.call('acquire');
      const waiting = outcome(make(at).acquire());
      await settle();
      await other.call('create', kind, join(current, '..', 'two', 'state.json'), options);
      expect(await other.call('tryAcquire')).toBe(true);
      deploy('two');
      await holder.call('release');
      // The old lock is free when the waiter has found the new one taken. The try may come before the waiter's turn, so
      // it gives back what it is granted.
      const fresh = Actor.start();
      await fresh.call('create', kind, join(current, '..', 'one', 'state.json'), options);
      await until(async () => waiting.state !== 'pending' || (await fresh.call('tryAcquire')));
      expect(waiting.state).toBe('pending');
      await fresh.call('release');
      await other.call('release');
      await until(() => waiting.state === 'fulfilled');
      expect(await other.call('tryAcquire')).toBe(false);
      waiting.value?.release();
    });

    it.skipIf(unless)(`${name}: goes on where the folder to which it led is gone`, async () => {
      const { current, deploy } = deployment();
      const subject = make(join(current, 'state.json'));
      (await subject.acquire()).release();
      deploy('two');
      rmSync(join(current, '..', 'one'), { recursive: true });
      for (let round = 0; round < 2; round++) (await subject.acquire()).release();
    });
  }

  it.each(['lockBeside', 'lockBeside, lockfile'])(
    '%s: a waiter does not wait for the holder of the old lock',
    async (name) => {
      const { current, deploy } = deployment();
      const at = join(current, 'state.json');
      const { make, actor } = kinds[name] as (typeof kinds)[string];
      const holder = Actor.start();
      await holder.call('create', actor[0], at, actor[1]);
      await holder.call('acquire');
      const waiting = make(at).acquire();
      await settle();
      deploy('two');
      (await waiting).release();
    },
  );

  it('web locks: a waiter does not wait for the holder of the old lock', async () => {
    const { current, deploy } = deployment();
    const [manager, old] = [new LockManager(current), new LockManager(join(current, '..', 'one'))];
    let end = (): void => {};
    const holding = old.request('x', () => new Promise<void>((resolve) => (end = resolve)));
    const waiting = manager.request('x', () => 'granted');
    await settle();
    deploy('two');
    expect(await waiting).toBe('granted');
    end();
    await holding;
  });

  it('tells the holder of a lock beside a file, whose own file is where it was', async () => {
    const { current, deploy } = deployment();
    const handle = await lockBeside(join(current, 'state.json')).acquire();
    expect(handle.signal.aborted).toBe(false);
    deploy('two');
    await until(() => handle.signal.aborted);
    expect(handle.signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST' });
    handle.release();
  });

  it('web locks: requests from before and after it exclude each other, waiting ones too', async () => {
    const { current, deploy } = deployment();
    const [before, old, fresh] = [current, join(current, '..', 'one'), join(current, '..', 'two')].map(
      (at) => new LockManager(at),
    ) as [LockManager, LockManager, LockManager];
    let endOld = (): void => {};
    let endFresh = (): void => {};
    const order: string[] = [];
    const holdsOld = old.request('x', () => new Promise<void>((resolve) => (endOld = resolve)));
    const waits = before.request('x', () => void order.push('from before'));
    await settle();
    deploy('two');
    const holdsFresh = fresh.request('x', async () => {
      await new Promise<void>((resolve) => (endFresh = resolve));
      order.push('from after');
    });
    await settle();
    endOld();
    await holdsOld;
    expect((await fresh.query()).held).toHaveLength(1);
    await until(async () => (await before.query()).pending?.length === 1);
    endFresh();
    await Promise.all([holdsFresh, waits]);
    expect(order).toEqual(['from after', 'from before']);
  });
});

describe('LockPlace', () => {
  it('tells whether the path leads elsewhere, and keeps what it has found until it looks again', () => {
    const { current, deploy } = deployment();
    const place = new LockPlace(join(current, 'x'), { mode: 0o666, ignoreUmask: false, followSymlinks: false });
    const first = place.canonical;
    deploy('two');
    expect([place.canonical, place.leadsTo(first), place.canonical]).toEqual([first, false, first]);
    expect([place.look(), place.look()]).toEqual([true, false]);
    expect(place.sibling('queue')).toBe(join(current, '..', 'two', '.x.fairlock-queue'));
  });
});

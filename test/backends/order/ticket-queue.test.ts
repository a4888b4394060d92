import { existsSync, linkSync, readFileSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FIRST_TICKET } from '../../../src/files/byte-layout.js';
import { sidecarOf } from '../../../src/files/sibling-files.js';
import {
  InterProcessLock,
  type InterProcessLockOptions,
  LockDeadlockError,
  LockTimeoutError,
  LockUnsupportedError,
} from '../../../src/index.js';
import { lockSuite } from '../../suites/lock.js';
import { holdBytes } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { openDescriptors, root, testFolder } from '../../support/paths.js';
import { Actor, program, run } from '../../support/programs.js';
import { isSoak, rounds } from '../../support/scale.js';
import { outcome, settle, until } from '../../support/waiting.js';

const { path } = testFolder();
const FIFO = { fairness: 'fifo' } as const;
const TIMES = rounds(30, 200);

async function actorOn(file: string, options: InterProcessLockOptions = FIFO): Promise<Actor> {
  const actor = Actor.start();
  await actor.call('create', 'InterProcessLock', file, options);
  return actor;
}

/** Waits until the process is queued. */
async function inLine(lock: InterProcessLock, actor: Actor, count = 1): Promise<void> {
  await until(() => lock.inspect().waiters.filter(({ pid }) => pid === actor.child.pid).length >= count);
}

describe.runIf(hasFcntl)('fifo', () => {
  for (const mechanism of ['flock', 'fcntl'] as const) {
    lockSuite(`InterProcessLock, ${mechanism}, fifo`, () => new InterProcessLock(path(), { mechanism, ...FIFO }));

    it(`serves processes in the order in which they asked, ${mechanism}`, async () => {
      const options = { mechanism, ...FIFO };
      const lock = new InterProcessLock(path(), options);
      const order: string[] = [];
      const actors = await Promise.all([1, 2, 3].map(() => actorOn(lock.path, options)));
      const [a, b, c] = actors as [Actor, Actor, Actor];
      const holder = await lock.acquire();
      const waits: Promise<unknown>[] = [];
      const ask = async (name: string, actor: Actor, count: number): Promise<void> => {
        waits.push(
          actor.call<number>('acquire').then((index) => {
            order.push(name);
            return actor.call('release', index);
          }),
        );
        await inLine(lock, actor, count);
      };
      await ask('a1', a, 1);
      await ask('b1', b, 1);
      waits.push(lock.withLock(() => void order.push('self1')));
      await ask('c1', c, 1);
      await ask('a2', a, 2);
      waits.push(lock.withLock(() => void order.push('self2')));
      await ask('b2', b, 2);
      holder.release();
      await Promise.all(waits);
      expect(order).toEqual(['a1', 'b1', 'self1', 'c1', 'a2', 'self2', 'b2']);
    });
  }

  it('a holder that releases and asks again comes last', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const other = await actorOn(lock.path);
    let held = await lock.acquire();
    for (let round = 0; round < 20; round++) {
      const theirs = other.call<number>('acquire');
      await inLine(lock, other);
      held.release();
      expect(lock.tryAcquire()).toBeNull();
      const mine = outcome(lock.acquire());
      const index = await theirs;
      expect(mine.state).toBe('pending');
      await other.call('release', index);
      await until(() => mine.state === 'fulfilled');
      held = mine.value as never;
    }
    held.release();
  });

  it('a waiter that dies, aborts or times out in the middle of the line is skipped', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const holder = await lock.acquire();
    const actors = await Promise.all([1, 2, 3, 4, 5].map(() => actorOn(lock.path)));
    const [first, dies, aborts, timesOut, last] = actors as [Actor, Actor, Actor, Actor, Actor];
    const waits = new Map<Actor, Promise<unknown>>();
    for (const actor of actors) {
      waits.set(actor, actor.call('acquire', actor === timesOut ? { timeout: 200 } : {}, { abortable: 'it' }));
      waits.get(actor)?.catch(() => {});
      // What times out may be gone before it is seen: it has asked when it answers the next question.
      if (actor === timesOut) await actor.call('layers');
      else await inLine(lock, actor);
    }
    await dies.kill();
    await aborts.call('abort', 'it');
    await expect(waits.get(aborts)).rejects.toMatchObject({ name: 'AbortError' });
    await expect(waits.get(timesOut)).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    const theLast = outcome(waits.get(last) as Promise<unknown>);
    holder.release();
    await waits.get(first);
    await settle();
    expect(theLast.state).toBe('pending');
    await first.kill(); // as a holder
    await waits.get(last);
  });

  it('a stopped process delays only those behind it, and when it dies they go on', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const holder = await lock.acquire();
    const actors = await Promise.all([1, 2, 3].map(() => actorOn(lock.path)));
    const [before, stopped, behind] = actors as [Actor, Actor, Actor];
    const waits: { state: string }[] = [];
    for (const actor of actors) {
      waits.push(outcome(actor.call<number>('acquire')));
      await inLine(lock, actor);
    }
    stopped.child.kill('SIGSTOP');
    holder.release();
    await until(() => waits[0]?.state === 'fulfilled');
    await before.call('release');
    expect(waits[2]?.state).toBe('pending');
    stopped.child.kill('SIGKILL');
    await until(() => waits[2]?.state === 'fulfilled');
    await behind.call('release');
  });

  describe('the sidecar', () => {
    /**
     * A line of three, then the damage, then three more: all are served, one at a time, and later ones are in order.
     */
    async function survives(damage: (sidecar: string) => void): Promise<void> {
      const lock = new InterProcessLock(path(), FIFO);
      const sidecar = sidecarOf(lock.path);
      const holder = await lock.acquire();
      const actors = await Promise.all([1, 2].map(() => actorOn(lock.path)));
      let inside = 0;
      const all: Promise<unknown>[] = [];
      const ask = (actor: Actor): void => {
        all.push(
          actor.call<number>('acquire').then((index) => {
            expect(++inside).toBe(1);
            inside--;
            return actor.call('release', index);
          }),
        );
      };
      for (const actor of actors) ask(actor);
      for (const actor of actors) await inLine(lock, actor);
      damage(sidecar);
      for (const actor of actors) ask(actor);
      all.push(lock.withLock(() => expect(++inside).toBe(1)).then(() => inside--));
      holder.release();
      await Promise.all(all);
      // And afterwards there is order again.
      const [a, b] = actors as [Actor, Actor];
      const again = await lock.acquire();
      const order: string[] = [];
      const later = [a, b].map(async (actor, i) => {
        if (i === 1) await inLine(lock, a);
        const index = await actor.call<number>('acquire');
        order.push(i === 0 ? 'a' : 'b');
        await actor.call('release', index);
      });
      await inLine(lock, b);
      again.release();
      await Promise.all(later);
      expect(order).toEqual(['a', 'b']);
    }

    it('deleted', () => survives(unlinkSync));
    it('truncated', () => survives((sidecar) => truncateSync(sidecar, 0)));
    it('cut in the middle of the counter', () => survives((sidecar) => truncateSync(sidecar, 19)));
    it('with a counter of garbage', () =>
      survives((sidecar) =>
        writeFileSync(sidecar, Buffer.concat([Buffer.from('fairlock-queue 2'), Buffer.alloc(8, 0xff)])),
      ));
    it('with a counter that is far off', () =>
      survives((sidecar) =>
        writeFileSync(sidecar, Buffer.concat([Buffer.from('fairlock-queue 2'), Buffer.from([0, 0, 1, 0, 0, 0, 0, 0])])),
      ));
    it('replaced', () =>
      survives((sidecar) => {
        unlinkSync(sidecar);
        writeFileSync(sidecar, '');
      }));

    it('of another program is never written, and order is kept all the same', async () => {
      await survives((sidecar) => writeFileSync(sidecar, 'precious content of another program'));
      const lock = new InterProcessLock(path(), FIFO);
      writeFileSync(sidecarOf(lock.path), 'precious');
      const holder = await lock.acquire();
      const waits = [lock.acquire(), lock.acquire()];
      holder.release();
      for (const wait of waits) (await wait).release();
      expect(readFileSync(sidecarOf(lock.path), 'utf8')).toBe('precious');
    });

    it('goes with the lock file under unlinkOnRelease, but not while requests are queued', async () => {
      const options = { ...FIFO, unlinkOnRelease: true };
      const lock = new InterProcessLock(path(), options);
      const other = await actorOn(lock.path, options);
      const holder = await lock.acquire();
      const waiting = other.call('acquire');
      await inLine(lock, other);
      holder.release();
      await waiting;
      expect(lock.tryAcquire()).toBeNull();
      await other.call('release');
      (await lock.acquire()).release();
      expect([existsSync(lock.path), existsSync(sidecarOf(lock.path))]).toEqual([false, false]);
    });
  });

  it('timeouts, aborts and releases leave no descriptor', async () => {
    const before = openDescriptors();
    const lock = new InterProcessLock(path(), FIFO);
    const other = await actorOn(lock.path);
    await other.call('acquire');
    const controller = new AbortController();
    const waits = Array.from({ length: 40 }, (_, i) =>
      lock.acquire(i % 2 === 0 ? { timeout: 20 } : { signal: controller.signal }),
    );
    const ended = Promise.allSettled(waits);
    await until(() => lock.inspect().waiters.length <= 20);
    controller.abort();
    expect(new Set((await ended).map(({ status }) => status))).toEqual(new Set(['rejected']));
    expect(() => lock.acquireSync({ timeout: 5 })).toThrow(LockTimeoutError);
    await other.call('release');
    lock.acquireSync().release();
    lock.close();
    await other.kill();
    await until(() => openDescriptors() <= before);
  });

  it('acquireSync waits in the same queue', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const holder = await lock.acquire();
    const [first, second] = await Promise.all([actorOn(lock.path), actorOn(lock.path)]);
    const sync = outcome(first.call('acquireSync'));
    await inLine(lock, first);
    const async = outcome(second.call('acquire'));
    await inLine(lock, second);
    holder.release();
    await until(() => sync.state === 'fulfilled');
    expect(async.state).toBe('pending');
    await first.call('release');
    await until(() => async.state === 'fulfilled');
  });

  it('unlinking the lock file by its holders loses nothing', async () => {
    const counter = path();
    writeFileSync(counter, '0');
    const arg = (unlinkOnRelease: boolean): string =>
      JSON.stringify({ path: path('unlinked'), counter, times: TIMES, options: { ...FIFO, unlinkOnRelease } });
    const ran = await Promise.all(
      [true, true, false, false].map((unlink) => run(process.execPath, [program('increment.mjs'), arg(unlink)])),
    );
    expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(Array(4).fill([0, '']));
    expect(readFileSync(counter, 'utf8')).toBe(String(4 * TIMES));
  });

  it('is told by inspect(), and its sidecar has the permissions that were asked for', async () => {
    const lock = new InterProcessLock(path(), { ...FIFO, mode: 0o600 });
    const holder = await lock.acquire();
    expect(lock.inspect()).toMatchObject({
      fairness: 'fifo',
      layers: { lock: 'native-fallback', wait: 'native-fallback' },
    });
    expect(statSync(sidecarOf(lock.path)).mode & 0o777).toBe(0o600);
    holder.release();
  });
});

describe('fairness', () => {
  it("'fifo' is an error at construction where it cannot be had", () => {
    const create = (options: InterProcessLockOptions) => () => new InterProcessLock(path(), options);
    expect(create({ ...FIFO, mechanism: 'lockfile' })).toThrow(LockUnsupportedError);
    if (hasFcntl) expect(create({ ...FIFO, mechanism: 'fcntl', range: { start: 0, length: 1 } })).toThrow(/range/);
    if (!hasFcntl) expect(create(FIFO)).toThrow(LockUnsupportedError);
    expect(create({ fairness: 'fair' as never })).toThrow(TypeError);
  });

  it("'auto' is fifo where it can be had", () => {
    expect(new InterProcessLock(path(), { fairness: 'auto' }).inspect().fairness).toBe(hasFcntl ? 'fifo' : 'kernel');
    expect(new InterProcessLock(path(), { fairness: 'auto', mechanism: 'lockfile' }).inspect().fairness).toBe('kernel');
  });
});

describe('the algorithm', () => {
  it('holds in every interleaving of 3 processes with crashes, aborts and a lost counter', async () => {
    const { code, stdout } = await run(process.execPath, [
      `${root}scripts/model-check.mjs`,
      '--losses',
      ...(isSoak ? [] : ['--quick']),
    ]);
    expect(stdout).toMatch(/states of 3 processes: never two holders, tickets in order, no waiter stranded/);
    expect(code).toBe(0);
  });
});

function emptyWithTwoNames(file: string): void {
  writeFileSync(file, '');
  linkSync(file, `${file}.other`);
}

describe.runIf(hasFcntl)('tickets', () => {
  it('are taken by many processes at once, one at a time: none is refused', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const holder = await lock.acquire();
    const count = rounds(100, 10_000);
    const ran = await Promise.all(
      [1, 2, 3, 4].map(() => run(process.execPath, [program('drawer.mjs'), lock.path, String(count)])),
    );
    holder.release();
    expect(ran.map(({ stdout, stderr }) => [stdout, stderr])).toEqual(
      ran.map(() => [`[["AbortError",${count}]]\n`, '']),
    );
  });
});

describe.runIf(hasFcntl && existsSync('/proc/locks'))('beside tickets of other processes', () => {
  const otherTicket = (lock: InterProcessLock, ticket: number): (() => void) =>
    holdBytes(sidecarOf(lock.path), { start: FIRST_TICKET + ticket, length: 1 });

  /** A request, and a wait until it is granted or waits for the request with a ticket. */
  function ask(lock: InterProcessLock) {
    const granted = outcome(lock.acquire());
    const waitsFor = (ticket: number) =>
      until(() => {
        const { ino } = statSync(sidecarOf(lock.path));
        const isWait = new RegExp(`-> OFDLCK .*:${ino} ${FIRST_TICKET + ticket} `);
        return granted.state !== 'pending' || isWait.test(readFileSync('/proc/locks', 'utf8'));
      });
    return { granted, waitsFor };
  }

  it('the next in the queue may cancel: then the earlier one is waited for', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const [end0, end1] = [otherTicket(lock, 0), otherTicket(lock, 1)];
    const { granted, waitsFor } = ask(lock);
    await waitsFor(1);
    expect(granted.state).toBe('pending');
    end1();
    await waitsFor(0);
    expect(granted.state).toBe('pending');
    end0();
    await until(() => granted.state === 'fulfilled');
    granted.value?.release();
  });

  it('no free ticket before theirs is taken', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const end = otherTicket(lock, 5);
    const { granted, waitsFor } = ask(lock);
    await waitsFor(5);
    expect(granted.state).toBe('pending');
    end();
    await until(() => granted.state === 'fulfilled');
    granted.value?.release();
  });
});

describe.runIf(hasFcntl && existsSync('/proc/locks'))('tickets ahead', () => {
  it('are 16 for each thread, however many requests wait: the kernel has the locks of a file in a list', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const holder = await lock.acquire();
    const waits = Array.from({ length: 40 }, () => lock.acquire().then(({ release }) => release()));
    const { ino } = statSync(sidecarOf(lock.path));
    const tickets = readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .filter((line) => !line.includes('->') && line.includes(' WRITE ') && line.includes(`:${ino} `));
    expect(tickets.length).toBe(16);
    holder.release();
    await Promise.all(waits);
  });
});

describe.runIf(hasFcntl)('a sidecar that is not quite ours', () => {
  /** Two wait: the first of an empty queue writes nothing. */
  const contend = async (lock: InterProcessLock): Promise<void> => {
    const holder = await lock.acquire();
    const waiting = [lock.acquire(), lock.acquire()];
    holder.release();
    for (const one of waiting) (await one).release();
  };

  it.each([
    ['content that begins like ours', (file: string) => writeFileSync(file, 'fair')],
    ['an empty file with a second name', emptyWithTwoNames],
  ])('%s is locked, but never written', async (_what, plant) => {
    const lock = new InterProcessLock(path(), FIFO);
    const sidecar = sidecarOf(lock.path);
    plant(sidecar);
    const before = readFileSync(sidecar);
    await contend(lock);
    expect(readFileSync(sidecar)).toEqual(before);
  });

  it('a counter that is too low lets no newcomer overtake', async () => {
    const lock = new InterProcessLock(path(), FIFO);
    const actors = [await actorOn(lock.path), await actorOn(lock.path), await actorOn(lock.path)];
    const holder = await lock.acquire();
    const sidecar = sidecarOf(lock.path);
    const order: number[] = [];
    const served: Promise<unknown>[] = [];
    for (const [i, actor] of actors.entries()) {
      const grant = actor.call<number>('acquire', {}, { abortable: i }).then((index) => {
        order.push(i);
        return actor.call('release', index);
      });
      served.push(i === 1 ? expect(grant).rejects.toMatchObject({ name: 'AbortError' }) : grant);
      await inLine(lock, actor);
      // As if a stranger had set the counter back to the beginning.
      const header = readFileSync(sidecar);
      expect(header.length).toBe(i === 0 ? 0 : 24);
      header.fill(0, 16);
      writeFileSync(sidecar, header);
    }
    // Between the first and the last a byte is free now, where the counter points to.
    await (actors[1] as Actor).call('abort', 1);
    const newcomer = await actorOn(lock.path);
    const last = newcomer.call<number>('acquire').then((index) => {
      order.push(3);
      return newcomer.call('release', index);
    });
    await inLine(lock, newcomer);
    holder.release();
    await Promise.all([...served, last]);
    expect(order).toEqual([0, 2, 3]);
  });

  it('with fcntl, acquireSync refuses what this thread’s own range would block for ever', async () => {
    const file = path();
    const range = await new InterProcessLock(file, { mechanism: 'fcntl', range: { start: 0, length: 1 } }).acquire();
    expect(() => new InterProcessLock(file, { mechanism: 'fcntl', ...FIFO }).acquireSync()).toThrow(LockDeadlockError);
    range.release();
    new InterProcessLock(file, { mechanism: 'fcntl', ...FIFO }).acquireSync().release();
  });
});

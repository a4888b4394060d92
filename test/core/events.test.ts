/** What happens to a lock, as subscribers of node:diagnostics_channel learn of it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { renameSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { FifoMutex, InterProcessLock, InterProcessReaderWriterLock } from '../../src/index.js';
import { LockManager } from '../../src/web-locks/index.js';
import { hasFlock, hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { Actor, runProgram } from '../support/programs.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();
const CHANNELS = ['request', 'queued', 'cancel', 'grant', 'release', 'loss', 'steal'] as const;

type Event = Record<string, unknown> & { event: (typeof CHANNELS)[number] };
const subscribed: [string, (message: unknown) => void][] = [];

/** All events of a path from now on. */
function record(file: string | undefined): Event[] {
  const events: Event[] = [];
  for (const event of CHANNELS) {
    const listener = (message: unknown): void => {
      if ((message as Event).path === file) events.push({ event, ...(message as object) } as Event);
    };
    subscribe(`fairlock:${event}`, listener);
    subscribed.push([`fairlock:${event}`, listener]);
  }
  return events;
}

function names(events: Event[]): string[] {
  return events.map(({ event }) => event);
}

afterEach(() => {
  for (const [channel, listener] of subscribed.splice(0)) unsubscribe(channel, listener);
});

describe('events', () => {
  it('of a grant at once and its release share the hold; neither has a request', async () => {
    const lock = new InterProcessLock(path());
    const events = record(lock.path);
    (await lock.acquire()).release();
    expect(names(events)).toEqual(['grant', 'release']);
    const [grant, release] = events;
    expect(grant).toMatchObject({ path: lock.path, mechanism: lock.mechanism, mode: 'exclusive', request: undefined });
    expect(release?.hold).toBe(grant?.hold);
  });

  it('of a request that waits share its number, to the grant or to the cancellation with its reason', async () => {
    const mutex = new FifoMutex();
    const events = record(undefined);
    const first = await mutex.acquire();
    const second = mutex.acquire();
    const reason = new Error('enough');
    const controller = new AbortController();
    const third = mutex.acquire({ signal: controller.signal });
    controller.abort(reason);
    await expect(third).rejects.toBe(reason);
    await expect(mutex.acquire({ timeout: 1 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
    first.release();
    (await second).release();
    expect(names(events)).toEqual([
      'grant',
      'request',
      'request',
      'cancel',
      'request',
      'cancel',
      'release',
      'grant',
      'release',
    ]);
    const numbers = events.map(({ request }) => request);
    const [second_, third_, fourth] = [numbers[1], numbers[2], numbers[4]];
    expect(new Set([second_, third_, fourth]).size).toBe(3);
    expect([numbers[3], numbers[5], numbers[7]]).toEqual([third_, fourth, second_]);
    expect([events[3]?.reason, events[5]?.reason]).toEqual([reason, undefined]);
  });

  it('tell the mode', async () => {
    const lock = new InterProcessReaderWriterLock(path());
    const events = record(lock.path);
    (await lock.acquireRead()).release();
    const modes = lock.mechanism === 'lockfile' ? ['exclusive', 'exclusive'] : ['shared', 'shared'];
    expect(events.map(({ mode }) => mode)).toEqual(modes);
  });

  it('of a re-entrant lock: one grant and one release, with its last handle', async () => {
    const lock = new InterProcessLock(path(), { reentrant: true });
    const events = record(lock.path);
    await lock.withLock(async () => {
      (await lock.acquire()).release();
      expect(names(events)).toEqual(['grant']);
    });
    expect(names(events)).toEqual(['grant', 'release']);
  });

  it.runIf(hasParking)(
    'tell when a request has its place between processes, in the order of the requests',
    async () => {
      const lock = new InterProcessLock(path(), { fairness: 'fifo' });
      const other = Actor.start();
      await other.call('create', 'InterProcessLock', lock.path);
      await other.call('acquire');
      const events = record(lock.path);
      const waits = [lock.acquire(), lock.acquire()];
      await until(() => names(events).filter((name) => name === 'queued').length === 2);
      const of = (name: string): unknown[] =>
        events.filter(({ event }) => event === name).map(({ request }) => request);
      expect(of('queued')).toEqual(of('request'));
      await other.call('release');
      for (const wait of waits) (await wait).release();
      expect(of('grant')).toEqual(of('request'));
    },
  );

  it('tell of a loss, where the signal is used', async () => {
    const lock = new InterProcessLock(path());
    const events = record(lock.path);
    const handle = await lock.acquire();
    const { signal } = handle;
    const kept = lock.mechanism === 'lockfile' ? `${lock.path}.lock` : lock.path;
    renameSync(kept, path());
    if (lock.mechanism !== 'lockfile') writeFileSync(lock.path, '');
    await until(() => signal.aborted);
    handle.release();
    expect(names(events)).toEqual(['grant', 'loss', 'release']);
    expect(events[1]).toMatchObject({ hold: events[0]?.hold, reason: signal.reason });
  });

  it.runIf(hasFlock)('tell of a steal before its grant', async () => {
    const directory = path();
    const locks = new LockManager(directory);
    let file: string | undefined;
    const listener = (message: unknown): void => {
      file = (message as Event).path as string;
    };
    subscribe('fairlock:grant', listener);
    subscribed.push(['fairlock:grant', listener]);
    const stolen = locks.request('n', () => new Promise(() => {}));
    await until(() => file !== undefined);
    const events = record(file);
    await Promise.all([expect(stolen).rejects.toThrow('stolen'), locks.request('n', { steal: true }, () => {})]);
    expect(names(events).slice(0, 3)).toEqual(['release', 'steal', 'grant']);
  });

  it('whose subscriber throws do not break the lock: the error is uncaught, the next request is served', async () => {
    const { stdout } = await runProgram('throwing-subscribers.mjs');
    const order = 'grant,request,request,cancel,release,grant,release';
    expect(stdout).toBe(`ERR_LOCK_TIMEOUT\n${order}\n`);
  });
});

/** The checker of the chaos, proved: every kind of broken lock is caught, and a lock that works is not accused. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codeOf, randomOf, request, type Subject, type SubjectHandle } from '../../scripts/chaos/drive.mjs';
import { check, readHistory, recorder } from '../../scripts/chaos/history.mjs';
import { FifoMutex } from '../../src/index.js';
import { testFolder } from '../support/paths.js';

const { folder } = testFolder();

/** Eight tasks that make so many requests of a lock in this process, as two clients. Returns what the checker says. */
async function violationsOf(subject: Subject, count: number, resource: object): Promise<string[]> {
  const logs = mkdtempSync(join(folder, 'logs-'));
  const clients = ['1.0.1', '2.0.1'].map((client, i) => ({
    client,
    record: recorder(logs, client),
    random: randomOf(i),
    quick: true,
  }));
  let left = count;
  const task = async (client: (typeof clients)[0]): Promise<void> => {
    while (left-- > 0) {
      const error = await request(subject, client);
      if (error !== undefined && !['ERR_LOCK_TIMEOUT', 'TimeoutError'].includes(codeOf(error))) throw error;
    }
  };
  await Promise.all([0, 1, 2, 3].flatMap(() => clients.map(task)));
  return check(readHistory(logs), { lock: resource }).violations;
}

const mutex = new FifoMutex();
const works: Subject = {
  name: 'lock',
  acquire: (_mode, options) => mutex.acquire(options),
  try: () => mutex.tryAcquire(),
};
const nothing = (): SubjectHandle => ({ release: () => {} });

describe('the checker of the chaos', () => {
  it('accuses no lock that works', async () => {
    expect(await violationsOf(works, 5_000, {})).toEqual([]);
  });

  it('catches a lock that forgets exclusion once in 10 000', async () => {
    let count = 0;
    const acquire: Subject['acquire'] = async (mode, options) =>
      ++count % 10_000 === 0 ? nothing() : works.acquire(mode, options);
    // A hold that is granted beside another one may be over before that one has begun: then there were no two holders.
    let found: string[] = [];
    for (let tries = 0; tries < 20 && !found.some((one) => one.includes('two holders')); tries++) {
      found = await violationsOf({ ...works, acquire }, 25_000, {});
    }
    expect(found).toEqual(expect.arrayContaining([expect.stringMatching(/two holders/)]));
  });

  it('catches one that lets a newcomer barge in', async () => {
    // A request that is made while it is free for a moment is served before the queue.
    let held = false;
    let count = 0;
    const queue: (() => void)[] = [];
    const barging: Subject = {
      name: 'lock',
      acquire: async () => {
        if (held)
          await new Promise<void>((resolve) => (++count % 500 === 0 ? queue.unshift(resolve) : queue.push(resolve)));
        held = true;
        return {
          release: () => {
            held = queue.length > 0;
            queue.shift()?.();
          },
        };
      },
    };
    expect(await violationsOf(barging, 5_000, {})).toEqual(
      expect.arrayContaining([expect.stringMatching(/was made before .*, and granted after it/)]),
    );
  });

  it('catches a queue between processes that serves a later ticket first', async () => {
    const requests = ['a', 'b'].map((id, i) => ({
      what: 'ask',
      id,
      client: `${i}.0.1`,
      resource: 'lock',
      mode: 'exclusive',
      how: 'acquire',
      at: i * 10,
    }));
    const history = (first: string, second: string) => [
      ...requests,
      { what: 'ticket', id: 'a', at: 5 },
      { what: 'ticket', id: 'b', at: 15 },
      { what: 'begin', id: first, at: 20 },
      { what: 'end', id: first, at: 21 },
      { what: 'begin', id: second, at: 30 },
      { what: 'end', id: second, at: 31 },
    ];
    expect(check(history('a', 'b'), { lock: { fifo: true } }).violations).toEqual([]);
    expect(check(history('b', 'a'), { lock: { fifo: true } }).violations).toEqual([
      'lock: a had its ticket before b asked, and came after it',
    ]);
  });

  it('catches a semaphore that leaks a permit, and one that gives a permit twice', async () => {
    const counting = (permits: number, numberOf: (n: number) => number): Subject => {
      const free = Array.from({ length: permits }, (_, n) => n);
      const queue: ((n: number) => void)[] = [];
      return {
        name: 'lock',
        acquire: async () => {
          const permit = free.shift() ?? (await new Promise<number>((resolve) => queue.push(resolve)));
          return {
            permit: numberOf(permit),
            release: () => {
              const next = queue.shift();
              if (next === undefined) free.push(permit);
              else next(permit);
            },
          };
        },
      };
    };
    expect(
      await violationsOf(
        counting(3, (n) => n),
        3_000,
        { permits: 3 },
      ),
    ).toEqual([]);
    expect(
      await violationsOf(
        counting(4, (n) => n),
        3_000,
        { permits: 3 },
      ),
    ).toEqual(expect.arrayContaining([expect.stringMatching(/more than 3 holders/)]));
    expect(
      await violationsOf(
        counting(3, (n) => n % 2),
        3_000,
        { permits: 3 },
      ),
    ).toEqual(expect.arrayContaining([expect.stringMatching(/permit 0 twice/)]));
  });

  it('catches one that grants after it was cancelled', () => {
    const events = [
      { what: 'ask', id: 'a', client: '1.0.1', resource: 'lock', mode: 'exclusive', how: 'acquire', at: 1 },
      { what: 'gone', id: 'a', why: 'ERR_LOCK_TIMEOUT', at: 2 },
      { what: 'begin', id: 'a', at: 3 },
      { what: 'end', id: 'a', at: 4 },
    ];
    expect(check(events, { lock: {} }).violations).toEqual(['granted after it was cancelled: a (ERR_LOCK_TIMEOUT)']);
  });

  it('catches one that keeps what it granted to a cancelled request: all others are stranded', async () => {
    const late: Subject = {
      name: 'lock',
      acquire: async (_mode, { timeout }) => {
        const handle = await mutex2.acquire();
        if (timeout !== undefined && timeout < 1) throw Object.assign(new Error(), { code: 'ERR_LOCK_TIMEOUT' });
        return handle;
      },
    };
    const mutex2 = new FifoMutex();
    const logs = mkdtempSync(join(folder, 'logs-'));
    const client = { client: '1.0.1', record: recorder(logs, '1.0.1'), random: randomOf(3), quick: true };
    let stuck = false;
    for (let i = 0; i < 500 && !stuck; i++) {
      const ended = await Promise.race([
        request(late, client).then(() => true),
        new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve)))),
      ]);
      stuck = ended !== true && mutex2.held;
    }
    expect(stuck).toBe(true);
    expect(check(readHistory(logs), { lock: {} }).violations).toEqual(
      expect.arrayContaining([expect.stringMatching(/neither granted nor cancelled/)]),
    );
  });

  it('catches a token that is repeated', async () => {
    let token = 0;
    const acquire: Subject['acquire'] = async (mode, options) => {
      const handle = await works.acquire(mode, options);
      if (token % 1_000 !== 999) token++;
      else if (Math.random() < 0.5) token++;
      return { token, release: () => handle.release() };
    };
    expect(await violationsOf({ name: 'lock', acquire }, 20_000, { tokens: true })).toEqual(
      expect.arrayContaining([expect.stringMatching(/token \d+ after \d+/)]),
    );
  });

  it('knows that a holder that was killed holds no more, and that a stranger took the file', () => {
    const hold = (id: string, client: string, at: number) => [
      { what: 'ask', id, client, resource: 'lock', mode: 'exclusive', how: 'acquire', at: at - 1 },
      { what: 'begin', id, at },
    ];
    const second = [...hold('b', '2.0.1', 30), { what: 'end', id: 'b', at: 40 }];
    expect(
      check([...hold('a', '1.0.1', 10), { what: 'ends', process: 1, at: 20 }, ...second], { lock: {} }).violations,
    ).toEqual([]);
    const overlapping = [...hold('a', '1.0.1', 10), { what: 'end', id: 'a', at: 35 }, ...second];
    expect(check(overlapping, { lock: {} }).violations).toEqual(['lock: two holders: a and b']);
    expect(
      check([...overlapping, { what: 'taken', resource: 'lock', since: 15, at: 16 }], { lock: {} }).violations,
    ).toEqual([]);
  });
});

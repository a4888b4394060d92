// Named after the sections of https://www.w3.org/TR/web-locks/: the same between processes, and between Workers.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sidecarOf } from '../../src/files/sibling-files.js';
import { fileNameOf } from '../../src/web-locks/file-names.js';
import { LockManager } from '../../src/web-locks/index.js';
import { hasNamespaces, hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { holdByFlock, program, run } from '../support/programs.js';
import { rounds, some } from '../support/scale.js';
import { until } from '../support/waiting.js';
import { type WebLocksClient, WebLocksProcess, WebLocksWorker } from '../support/web-locks-clients.js';

const { path } = testFolder();

const kinds = [
  ['processes', WebLocksProcess.start],
  ['Workers', WebLocksWorker.start],
] as const;

describe.runIf(hasParking).each(some(kinds))('between %s', (kind, start) => {
  it('5.1 exclusive ones exclude each other, shared ones do not', async () => {
    const directory = path();
    const [a, b] = [await start(directory), await start(directory)];
    const first = a.request('n', { mode: 'shared' });
    expect(await a.until('granted', first)).toEqual({ name: 'n', mode: 'shared' });
    const second = b.request('n', { mode: 'shared' });
    expect(await b.until('granted', second)).toEqual({ name: 'n', mode: 'shared' });
    const refused = b.request('n', { ifAvailable: true });
    expect(await b.until('granted', refused)).toBeNull();
    expect(await b.until('done', refused)).toBe('null');
    const writer = a.request('n');
    a.send({ release: first });
    b.send({ release: second });
    expect(await a.until('granted', writer)).toEqual({ name: 'n', mode: 'exclusive' });
    a.send({ release: writer });
    expect(await a.until('done', writer)).toBe('released');
    await until(() => readdirSync(directory).length === 0);
  });

  it('5.1 in the order of the requests, across modes', async () => {
    const directory = path();
    const clients = [await start(directory), await start(directory), await start(directory)];
    const locks = new LockManager(directory);
    const order: number[] = [];
    let release = (): void => {};
    const holding = locks.request(
      'n',
      () =>
        new Promise<void>((resolve) => {
          release = resolve;
        }),
    );
    const modes = ['exclusive', 'shared', 'exclusive', 'shared', 'exclusive', 'exclusive'] as const;
    const requests: { client: WebLocksClient; id: number }[] = [];
    for (const [i, mode] of modes.entries()) {
      const client = clients[i % 3] as WebLocksClient;
      const id = client.request('n', { mode });
      requests.push({ client, id });
      await until(async () => (await locks.query()).pending?.length === i + 1);
    }
    release();
    await holding;
    for (const [i, { client, id }] of requests.entries()) {
      await client.until('granted', id);
      order.push(i);
      // No request behind it has been granted, but for a reader beside it.
      expect(
        requests
          .slice(i + 1)
          .filter(({ client: other, id: later }) => other.told.some((told) => told.id === later && told.granted))
          .length,
      ).toBeLessThanOrEqual(modes[i] === 'shared' ? 1 : 0);
      client.send({ release: id });
    }
    await until(() => readdirSync(directory).length === 0);
  });

  it('5.2 the last holder leaves no file, however quick it is', async () => {
    const directory = path();
    const clients = [await start(directory), await start(directory)];
    const left: string[] = [];
    for (let round = 0; round < rounds(30, 500); round++) {
      await Promise.all(clients.map((client) => client.brief('n')));
      left.push(...readdirSync(directory));
    }
    expect(left).toEqual([]);
  });

  it('5.3 an aborted request is gone, and its callback is not called', async () => {
    const directory = path();
    const [a, b] = [await start(directory), await start(directory)];
    const holder = a.request('n');
    await a.until('granted', holder);
    const pending = b.request('n', {}, true);
    await until(async () => (await a.query()).pending?.length === 1);
    b.send({ abort: pending });
    expect(await b.until('error', pending)).toBe('AbortError');
    expect((await a.query()).pending).toEqual([]);
    a.send({ release: holder });
    await a.until('done', holder);
    expect(b.told.filter(({ granted }) => granted)).toEqual([]);
    await until(() => readdirSync(directory).length === 0);
  });

  it('5.4 a stolen lock: its holder is told at once, waiters go on with the new file', async () => {
    const directory = path();
    const [owner, stealer, waiter] = [await start(directory), await start(directory), await start(directory)];
    const victim = owner.request('n');
    await owner.until('granted', victim);
    const waiting = waiter.request('n');
    await until(async () => (await stealer.query()).pending?.length === 1);
    const steal = stealer.request('n', { steal: true });
    expect(await stealer.until('granted', steal)).toEqual({ name: 'n', mode: 'exclusive' });
    expect(await owner.until('error', victim)).toBe('AbortError');
    expect(await owner.until('lost', victim)).toBe(true);
    expect(waiter.told.filter(({ granted }) => granted)).toEqual([]);
    stealer.send({ release: steal });
    await waiter.until('granted', waiting);
    waiter.send({ release: waiting });
    await waiter.until('done', waiting);
    await until(() => readdirSync(directory).length === 0);
  });

  it('5.6 a snapshot shows them, with their client ids', async () => {
    const directory = path();
    const [a, b] = [await start(directory), await start(directory)];
    const names = ['', 'a/b', '😀'];
    const held = names.map((name) => a.request(name, { mode: 'shared' }));
    for (const id of held) await a.until('granted', id);
    const pending = b.request('a/b');
    const seen = await until(async () => {
      const snapshot = await new LockManager(directory).query();
      return snapshot.pending?.length === 1 && snapshot;
    });
    expect(seen.pending).toEqual([{ name: 'a/b', mode: 'exclusive', clientId: b.id }]);
    expect(seen.held?.sort((x, y) => String(x.name).localeCompare(String(y.name)))).toEqual(
      names.map((name) => ({ name, mode: 'shared', clientId: a.id })).sort((x, y) => x.name.localeCompare(y.name)),
    );
    // A name too long for a file name is known where the process is the same.
    const long = a.request('x'.repeat(1000));
    await a.until('granted', long);
    expect((await new LockManager(directory).query()).held?.length).toBe(kind === 'Workers' ? 4 : 3);
    for (const id of [...held, long]) a.send({ release: id });
    await b.until('granted', pending);
  });

  it('the end of a client frees what it held and takes back what it asked', async () => {
    const directory = path();
    const [a, b] = [await start(directory), await start(directory)];
    await a.until('granted', a.request('n'));
    const pending = b.request('n');
    a.request('n');
    await until(async () => (await b.query()).pending?.length === 2);
    await a.kill();
    await b.until('granted', pending);
    const { held, pending: left } = await until(async () => {
      const snapshot = await b.query();
      return snapshot.held?.length === 1 && snapshot.pending?.length === 0 && snapshot;
    });
    expect([held?.[0]?.clientId, left]).toEqual([b.id, []]);
    b.send({ release: pending });
    await b.until('done', pending);
    expect(await new LockManager(directory).query()).toEqual({ held: [], pending: [] });
  });
});

describe.runIf(hasParking)('5.4 to steal from one that is stopped', () => {
  it('does not wait for it, nor do those behind', async () => {
    const directory = path();
    const [owner, head, second] = [
      await WebLocksProcess.start(directory),
      await WebLocksProcess.start(directory),
      await WebLocksProcess.start(directory),
    ];
    const victim = owner.request('n');
    await owner.until('granted', victim);
    const locks = new LockManager(directory);
    const waiting = head.request('n');
    await until(async () => (await locks.query()).pending?.length === 1);
    const behind = second.request('n');
    await until(async () => (await locks.query()).pending?.length === 2);
    owner.child.kill('SIGSTOP');
    await until(() => readFileSync(`/proc/${owner.child.pid}/stat`, 'utf8').includes(') T '));
    expect(await locks.request('n', { steal: true }, (lock) => lock?.mode)).toBe('exclusive');
    await head.until('granted', waiting);
    expect(second.told.filter(({ granted }) => granted)).toEqual([]);
    head.send({ release: waiting });
    await second.until('granted', behind);
    second.send({ release: behind });
    await second.until('done', behind);
    owner.child.kill('SIGCONT');
    expect(await owner.until('error', victim)).toBe('AbortError');
    await until(() => readdirSync(directory).length === 0);
  });
});

interface Held {
  name: string;
  kind: string;
  mode: string;
  came: string;
  asked: number;
  begin: number;
  end: number;
  lost: number;
}

describe.runIf(hasParking)('4 processes, exclusive, shared, ifAvailable and signal at random', () => {
  const REQUESTS = rounds(100, 2_000);

  async function history(steals: string): Promise<Held[]> {
    const [directory, log] = [path(), path()];
    const seeds = [1, 2, 3, 4].map((n) => String(n * 7919));
    const runs = await Promise.all(
      seeds.map((seed) =>
        run(process.execPath, [program('web-locks-history.mjs'), directory, log, seed, String(REQUESTS), steals]),
      ),
    );
    expect(runs.map(({ code, stderr }) => [code, stderr])).toEqual(runs.map(() => [0, '']));
    await until(() => readdirSync(directory).length === 0);
    const all = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Held);
    expect(all.length).toBe(4 * REQUESTS);
    for (const { kind, came } of all) if (!kind.startsWith('ifAvailable')) expect(came).not.toBe('null');
    expect(new Set(all.map(({ came }) => came))).toEqual(new Set(['done', 'null', 'AbortError']));
    return all;
  }

  /** Pairs that were held at the same time and should not have been. */
  function conflicts(all: Held[]): [Held, Held][] {
    const held = all.filter(({ begin }) => begin > 0).sort((a, b) => a.begin - b.begin);
    expect(held.length).toBeGreaterThan(REQUESTS);
    return held.flatMap((one, i) => {
      const beside = held.slice(i + 1).filter((later) => later.name === one.name && later.begin < one.end);
      return beside
        .filter((later) => one.mode === 'exclusive' || later.mode === 'exclusive')
        .map((later): [Held, Held] => [one, later]);
    });
  }

  it('the history has no two holders', async () => {
    expect(conflicts(await history(''))).toEqual([]);
  });

  it('and steal: no two holders but where one was stolen from', async () => {
    const all = await history('steal');
    const thefts = all.filter(({ kind, begin }) => kind === 'steal' && begin > 0);
    expect(thefts.length).toBeGreaterThan(REQUESTS / 40);
    // Two that overlap are explained if the lock was stolen from one of them. Their order tells nothing: the callback
    // of a request that was granted first may begin after the stealer's, and end before its process hears of the steal.
    // A request that was made after the steal is not excused by it.
    const stolen = (one: Held, from: Held): boolean =>
      thefts.some(
        (steal) => steal !== one && steal.name === one.name && one.asked < steal.begin && steal.begin <= from.begin,
      );
    const stolenFromLater = (one: Held, later: Held): boolean =>
      thefts.some(
        (steal) => steal !== later && steal.name === later.name && later.asked < steal.begin && steal.begin <= one.end,
      );
    expect(conflicts(all).filter(([one, later]) => !stolen(one, later) && !stolenFromLater(one, later))).toEqual([]);
    for (const { came, lost, kind, begin } of all) {
      if (!kind.startsWith('signal') && came === 'AbortError' && begin > 0) expect(lost).toBeGreaterThan(0);
    }
  });
});

// A grant drops the ticket: a request that then waits anew with its number waits for the ones behind it.
it.runIf(hasParking && process.platform === 'linux')(
  'a request that was granted just before its file is stolen waits anew with a new ticket',
  async () => {
    const directory = path();
    const file = join(directory, fileNameOf('n'));
    const locks = new LockManager(directory);
    await locks.request('n', () => undefined);
    const old = await holdByFlock(file, '-o');
    const done = locks.request('n', () => 'done');
    await until(() => existsSync(sidecarOf(file)) && readFileSync('/proc/locks', 'utf8').includes('-> FLOCK'));
    const fresh = await holdByFlock(path('fresh'));
    const ticket = `:${statSync(sidecarOf(file)).ino} `;
    // While this thread is blocked: the folder's watch hears of something, the lock is granted, its file is replaced.
    const script = ': > "$1/other"; kill -9 "$2"; while grep -q "$3" /proc/locks; do :; done; mv "$4" "$5"';
    const values = ['sh', directory, String(old.pid), ticket, path('fresh'), file];
    execFileSync('sh', ['-c', script, ...values], { timeout: 30_000 });
    await until(() => readFileSync('/proc/locks', 'utf8').includes(ticket));
    await fresh.letGo();
    expect(await done).toBe('done');
  },
);

describe.runIf(hasParking)('query', () => {
  it('tells of a pending request of another process whether it is shared', async () => {
    const directory = path();
    const [holder, reader, writer] = [
      await WebLocksProcess.start(directory),
      await WebLocksProcess.start(directory),
      await WebLocksProcess.start(directory),
    ];
    const held = holder.request('n');
    await holder.until('granted', held);
    const locks = new LockManager(directory);
    const reading = reader.request('n', { mode: 'shared' });
    await until(async () => (await locks.query()).pending?.length === 1);
    const writing = writer.request('n');
    await until(async () => (await locks.query()).pending?.length === 2);
    expect((await locks.query()).pending?.map(({ mode }) => mode)).toEqual(['shared', 'exclusive']);
    holder.send({ release: held });
    await reader.until('granted', reading);
    reader.send({ release: reading });
    await writer.until('granted', writing);
    writer.send({ release: writing });
    await writer.until('done', writing);
    await until(() => readdirSync(directory).length === 0);
  });
});

describe.runIf(hasParking && hasNamespaces)('steal', () => {
  it('by processes of one number in two PID namespaces does not get in its own way', async () => {
    const directory = path();
    const script = `
      import { LockManager } from 'fairlock/web-locks';
      const locks = new LockManager(${JSON.stringify(directory)});
      for (let i = 0; i < 150; i++) {
        await locks.request('n', { steal: true }, () => {}).catch((error) => {
          if (error.name !== 'AbortError') throw error;
        });
      }
      console.log(process.pid);`;
    const unshare = [
      '--pid',
      '--fork',
      '--mount-proc',
      process.execPath,
      '--no-warnings',
      '--input-type=module',
      '-e',
      script,
    ];
    const ran = await Promise.all([run('unshare', unshare), run('unshare', unshare)]);
    expect(ran.map(({ stdout, stderr }) => [stdout, stderr])).toEqual([
      ['1\n', ''],
      ['1\n', ''],
    ]);
    await until(() => readdirSync(directory).length === 0);
  });
});

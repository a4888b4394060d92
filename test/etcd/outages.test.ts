/** Waits that end, and say why they go on: tokens that are too old, endpoints that hang, a full disk, a wrong address. */
import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { EtcdLocks, type EtcdLocksOptions, type FencedHandle } from '../../src/etcd/index.js';
import { testFolder } from '../support/paths.js';
import { TcpProxy } from '../support/proxy.js';
import { isSoak, some } from '../support/scale.js';
import { EtcdServer, freePort, hasEtcd, hasEtcdctl } from '../support/servers.js';
import { outcome, until } from '../support/waiting.js';

const { path } = testFolder();

describe.runIf(hasEtcd)('etcd: waits that end (needs etcd)', () => {
  const open: EtcdLocks[] = [];
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  /** Tokens that are signed, not kept, and say which state of the users they are of. */
  function jwt(): string {
    const [key, pub] = [path('key.pem'), path('pub.pem')];
    execFileSync('openssl', ['genrsa', '-out', key, '2048'], { stdio: 'ignore' });
    execFileSync('openssl', ['rsa', '-in', key, '-pubout', '-out', pub], { stdio: 'ignore' });
    return `jwt,pub-key=${pub},priv-key=${key},sign-method=RS256,ttl=5m`;
  }

  function locks(options: EtcdLocksOptions): EtcdLocks {
    const made = new EtcdLocks({ ttl: 60_000, ...options });
    open.push(made);
    return made;
  }

  it.runIf(hasEtcdctl).each(some(['simple', 'jwt']))(
    'users and roles that are changed: calls, releases and waits go on with a new token (%s)',
    async (kind) => {
      const server = await EtcdServer.start('--auth-token', kind === 'jwt' ? jwt() : kind);
      server.ctl('user', 'add', 'root:secret');
      server.ctl('user', 'grant-role', 'root', 'root');
      server.ctl('auth', 'enable');
      const user = { endpoints: server.url, username: 'root', password: 'secret' };
      const [here, other] = [locks(user), locks(user)];
      const held = await other.lock('a').acquire();
      const waiting = outcome(here.lock('a').acquire());
      await until(async () => (await here.inspect('a')).waiters.length === 1);
      server.ctl('--user', 'root:secret', 'role', 'add', 'another');
      await (await here.lock('b').acquire()).release();
      await held.release();
      await until(() => waiting.state === 'fulfilled');
      await (waiting.value as FencedHandle).release();
    },
  );

  it.runIf(hasEtcdctl)('a try whose second call is refused leaves no key', async () => {
    const server = await EtcdServer.start();
    server.ctl('user', 'add', 'root:secret');
    server.ctl('user', 'grant-role', 'root', 'root');
    server.ctl('user', 'add', 'some:secret');
    server.ctl('role', 'add', 'some');
    server.ctl('role', 'grant-permission', 'some', 'readwrite', '--prefix=true', 'fairlock/job');
    server.ctl('user', 'grant-role', 'some', 'some');
    server.ctl('auth', 'enable');
    const some = locks({ endpoints: server.url, username: 'some', password: 'secret' });
    const root = locks({ endpoints: server.url, username: 'root', password: 'secret' });
    await expect(some.lock('job').tryAcquire()).rejects.toMatchObject({ code: 'ERR_LOCK_ENGINE' });
    await until(async () => (await root.inspect('job')).holders.length === 0);
  });

  it.runIf(isSoak).each(['hangs', 'refuses', 'has no address', 'is slow'])(
    'of 2, 3, 4 endpoints one %s while a request waits, whichever it is: it is granted',
    async (how) => {
      const server = await EtcdServer.start();
      const other = locks({ endpoints: server.url });
      const granted = async (count: number, which: number): Promise<void> => {
        const proxies = await Promise.all(Array.from({ length: count }, () => TcpProxy.to(server.port)));
        const endpoints = proxies.map(({ port }) => `http://127.0.0.1:${port}`);
        if (how === 'refuses') endpoints[which] = `http://127.0.0.1:${await freePort()}`;
        if (how === 'has no address') endpoints[which] = 'http://nowhere.invalid:2379';
        const proxy = proxies[which] as TcpProxy;
        if (how === 'is slow') proxy.slowDown(200);
        const here = locks({ endpoints, callTimeout: 2000 });
        const name = `${how} ${count} ${which}`;
        const held = await other.lock(name).acquire();
        const waiting = outcome(here.lock(name).acquire());
        await until(async () => (await other.inspect(name)).waiters.length === 1);
        if (how === 'hangs') proxy.swallow();
        await held.release();
        await until(() => waiting.state === 'fulfilled');
        await (waiting.value as FencedHandle).release();
        proxy.cut();
      };
      const all = [2, 3, 4].flatMap((count) => Array.from({ length: count }, (_, which) => granted(count, which)));
      await Promise.all(all);
    },
  );

  it('out of space: a request that is in the queue already is granted when its turn comes', async () => {
    const server = await EtcdServer.start('--quota-backend-bytes', '400000');
    const [here, other] = [locks({ endpoints: server.url }), locks({ endpoints: server.url })];
    const held = await other.lock('a').acquire();
    const waiting = outcome(here.lock('a').acquire());
    await until(async () => (await here.inspect('a')).waiters.length === 1);
    await server.fill();
    await held.release();
    await until(() => waiting.state === 'fulfilled');
    await (waiting.value as FencedHandle).release();
    await expect(here.lock('a').tryAcquire()).rejects.toThrow('space exceeded');
  });

  it('ports are those that are written, and 2379 where none is', async () => {
    const port = await freePort();
    for (const [endpoint, expected] of [
      [`http://127.0.0.1:${port}`, port],
      ['http://127.0.0.1:80', 80],
      ['https://127.0.0.1:443', 443],
      ['http://127.0.0.1', 2379],
    ] as const) {
      const refusal = await locks({ endpoints: endpoint })
        .lock('x')
        .tryAcquire()
        .catch((error) => error);
      expect(refusal.message).toContain(`127.0.0.1:${expected}`);
    }
  });

  it('a name that is not known, or an authority that is wrong, rejects; an outage is waited for, and told', async () => {
    await expect(locks({ endpoints: 'http://nowhere.invalid:2379' }).lock('x').acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_ENGINE',
    });
    const { url } = await EtcdServer.startWithTls();
    await expect(locks({ endpoints: url }).lock('x').acquire()).rejects.toMatchObject({
      code: 'ERR_LOCK_ENGINE',
      message: expect.stringMatching(/certificate/i),
    });
    const nobody = locks({ endpoints: `http://127.0.0.1:${await freePort()}` });
    const error = await nobody
      .lock('x')
      .acquire({ timeout: 1000 })
      .catch((reason) => reason);
    expect(error).toMatchObject({ code: 'ERR_LOCK_TIMEOUT', cause: { code: 'ERR_LOCK_ENGINE' } });
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('close rejects waiters, and what is asked for from then on', async () => {
    const server = await EtcdServer.start();
    const [here, other] = [locks({ endpoints: server.url }), locks({ endpoints: server.url })];
    const held = await other.lock('a').acquire();
    const refused = expect(here.lock('a').acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
    await until(async () => (await other.inspect('a')).waiters.length === 1);
    await here.close();
    await refused;
    await expect(here.lock('b').acquire()).rejects.toMatchObject({ code: 'ERR_LOCK_CLOSED' });
    await held.release();
  });
});

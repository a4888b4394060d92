import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  InterProcessLock,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  LockTimeoutError,
  type MechanismName,
} from '../../src/index.js';
import { hasFcntl, hasFlock, hasNamespaces, hasStrace, isRoot } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import {
  Actor,
  holdByFlock,
  isFreeForFlock,
  LineProgram,
  lyingFlock,
  run,
  runProgram,
  runScript,
} from '../support/programs.js';
import { needs, needsOpenTmpdir } from '../support/tools.js';
import { until } from '../support/waiting.js';

const { folder: base, path } = testFolder();
beforeAll(() => chmodSync(base, 0o755)); // Other users come here too.
const preload = lyingFlock();

const MECHANISMS = [
  ['flock', hasFlock],
  ['fcntl', hasFcntl],
  ['lockfile', true],
] as const satisfies [MechanismName, boolean][];

describe.each(MECHANISMS)('isLocked, %s', (mechanism, available) => {
  it.runIf(available)('tells a lock that is held, here or elsewhere, from a free one, and makes no file', async () => {
    const lock = new InterProcessLock(path(), { mechanism });
    expect([lock.isLocked(), existsSync(lock.path), existsSync(`${lock.path}.lock`)]).toEqual([false, false, false]);
    const handle = await lock.acquire();
    expect([lock.isLocked(), new InterProcessLock(lock.path, { mechanism }).isLocked()]).toEqual([true, true]);
    handle.release();
    expect(lock.isLocked()).toBe(false);
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', lock.path, { mechanism });
    await actor.call('acquire');
    expect([lock.isLocked(), lock.held]).toEqual([true, false]);
    await actor.call('release');
    expect(lock.isLocked()).toBe(false);
  });

  it.runIf(available && mechanism !== 'lockfile')('sees readers', async () => {
    const lock = new InterProcessReaderWriterLock(path(), { mechanism });
    const actor = Actor.start();
    await actor.call('create', 'InterProcessReaderWriterLock', lock.path, { mechanism });
    await actor.call('acquire', {}, { method: 'acquireRead' });
    expect(lock.isLocked()).toBe(true);
    const beside = lock.tryAcquireRead();
    expect(beside).not.toBeNull();
    beside?.release();
    await actor.call('release');
    expect(lock.isLocked()).toBe(false);
  });

  // That a flock is tried only to ask is told by a byte-range lock.
  it.runIf(available && (mechanism !== 'flock' || hasFcntl))(
    'takes nothing that a try of another process misses',
    async () => {
      const lock = new InterProcessLock(path(), { mechanism });
      (await lock.acquire()).release();
      const script = `
      import { InterProcessLock } from 'fairlock';
      import { existsSync } from 'node:fs';
      const lock = new InterProcessLock(${JSON.stringify(lock.path)}, { mechanism: '${mechanism}' });
      lock.isLocked();
      console.log('asking');
      while (!existsSync(${JSON.stringify(`${lock.path}.stop`)}) && process.ppid !== 1) for (let i = 0; i < 100; i++) lock.isLocked();
      console.log('done');`;
      const asking = new LineProgram(process.execPath, ['--no-warnings', '--input-type=module', '-e', script]);
      expect(await asking.line()).toBe('asking');
      let missed = 0;
      for (let i = 0; i < (mechanism === 'lockfile' ? 300 : 3000); i++) {
        const handle = lock.tryAcquire();
        if (handle === null) missed++;
        handle?.release();
        if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      writeFileSync(`${lock.path}.stop`, '');
      expect([await asking.line(), missed]).toEqual(['done', 0]);
    },
  );
});

describe.runIf(hasFlock)('a holder that cannot be seen', () => {
  it.runIf(hasNamespaces)('is a process of number 0, not none', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const script = `
      import { InterProcessLock } from 'fairlock';
      const lock = new InterProcessLock(${JSON.stringify(file)});
      console.log(lock.isLocked(), JSON.stringify(lock.inspect().holders));
      await lock.acquire({ timeout: 1 }).catch(({ message, holders }) => console.log(JSON.stringify(holders), message));`;
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
    const { stdout, stderr } = await run('unshare', unshare);
    const [first, second = ''] = stdout.split('\n');
    expect([stderr, first]).toEqual(['', 'true [{"pid":0,"shared":false}]']);
    expect(second).toMatch(/^\[\{"pid":0,"shared":false\}\] .*held by a process that cannot be seen from here/);
    await holder.letGo();
  });

  it('of a lock folder is one too', async () => {
    const lock = new InterProcessLock(path(), { mechanism: 'lockfile' });
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', lock.path, { mechanism: 'lockfile' });
    await actor.call('acquire');
    expect(lock.inspect().holders).toEqual([{ pid: 0, shared: false }]);
    await actor.call('release');
    expect(lock.inspect().holders).toEqual([]);
  });
});

describe.runIf(hasFlock)('a timeout', () => {
  /** The error of a timeout that names the holder: on a busy machine the look may take longer than it may be late. */
  const namingError = (pid: number | undefined, time: () => Promise<unknown> | never): Promise<LockTimeoutError> =>
    until(async () => {
      const error = (await (async () => time())().catch((reason: unknown) => reason)) as LockTimeoutError;
      expect(error).toBeInstanceOf(LockTimeoutError);
      return error.holders[0]?.pid === pid && error;
    });

  it('names the holders and counts the waiters', async () => {
    const lock = new InterProcessLock(path());
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', lock.path);
    await actor.call('acquire');
    const waiting = lock.acquire();
    expect(await namingError(actor.child.pid, () => lock.acquire({ timeout: 1 }))).toMatchObject({
      code: 'ERR_LOCK_TIMEOUT',
      timeout: 1,
      holders: [{ pid: actor.child.pid, shared: false }],
      waiters: 1,
      message: expect.stringMatching(
        new RegExp(`within 1 ms; it is held by pid ${actor.child.pid} \\(.+\\), and another request waits`),
      ),
    });
    await namingError(actor.child.pid, () => lock.acquire({ timeout: 0 }));
    await actor.call('release');
    (await waiting).release();
  });

  it('of acquireSync too', async () => {
    const lock = new InterProcessLock(path());
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', lock.path);
    await actor.call('acquire');
    await namingError(actor.child.pid, async () => lock.acquireSync({ timeout: 1 }));
  });

  it('says when the caller holds the lock itself, and a warning says it before', async () => {
    const script = `
      import { InterProcessLock } from 'fairlock';
      process.on('warning', ({ code }) => console.log(code));
      const lock = new InterProcessLock(${JSON.stringify(path())});
      const inner = () => lock.withLock(() => {}, { timeout: 5 }).catch(({ message }) => console.log(/waits for its own release/.test(message)));
      await lock.withLock(inner);
      await lock.withLock(inner);`;
    const { stdout } = await runScript(script);
    expect(stdout.split('\n').sort()).toEqual(['', 'FAIRLOCK_SELF_WAIT', 'true', 'true']);
  });
});

describe.runIf(hasFlock && hasStrace)('many waiters with onWait', () => {
  it('share one look at the system', async () => {
    const [file, trace] = [path(), path()];
    const holder = await holdByFlock(file);
    const script = `
      import { InterProcessLock } from 'fairlock';
      const lock = new InterProcessLock(${JSON.stringify(file)});
      const told = Array.from({ length: 50 }, () => new Promise((resolve) => {
        lock.acquire({ waitNotice: 1, onWait: ({ holders }) => resolve(holders.map(({ pid }) => pid).join()) }).catch(() => {});
      }));
      console.log(new Set(await Promise.all(told)));
      lock.close();`;
    const traced = [
      '-f',
      '-e',
      'trace=openat',
      '-o',
      trace,
      process.execPath,
      '--no-warnings',
      '--input-type=module',
      '-e',
      script,
    ];
    const { stdout, stderr } = await run('strace', traced);
    expect([stderr, stdout]).toEqual(['', `Set(1) { '${holder.pid}' }\n`]);
    expect(readFileSync(trace, 'utf8').match(/"\/proc\/locks"/g)?.length).toBeLessThan(5);
    await holder.letGo();
  });
});

describe('options that do not exist', () => {
  it.each([
    [
      () => new InterProcessLock('x', { fairnes: 'fifo' } as object),
      /fairnes: there is no such option here; did you mean fairness\?/,
    ],
    [() => new InterProcessLock('x', { timeout: 1000 } as object), /timeout: .*option of acquire\(\)/],
    [() => new InterProcessSemaphore('x', { permits: 1, permit: 2 } as never), /permit: .*did you mean permits\?/],
    [
      () => new InterProcessLock('x', { mechanism: 'fcntl', range: { start: 0, len: 1 } } as never),
      /len: .*did you mean length\?/,
    ],
    [() => new InterProcessLock('x', { whatever: 1 } as object), /whatever: .*there are: mechanism, fairness/],
  ])('are a TypeError that names the nearest known one: %#', (create, message) => {
    expect(create).toThrow(TypeError);
    expect(create).toThrow(message);
  });

  it('also of acquire; one that is undefined is none', async () => {
    const lock = new InterProcessLock(path(), { fairnes: undefined } as object);
    await expect(lock.acquire({ timout: 5 } as object)).rejects.toThrow(/timout: .*did you mean timeout\?/);
    await expect(lock.acquire({ fairness: 'fifo' } as object)).rejects.toThrow(/option of the lock's constructor/);
    expect(() => lock.acquireSync({ signal: AbortSignal.abort() } as object)).toThrow(/signal: .*option of acquire/);
    expect(existsSync(lock.path)).toBe(false);
  });
});

describe.runIf(hasFlock)('folders', () => {
  it('are made where they are missing, step by step', async () => {
    const file = join(path(), 'a/b/c', 'lock');
    (await new InterProcessLock(file).acquire()).release();
    expect(existsSync(file)).toBe(true);
    const other = join(path(), 'a/b', 'lock');
    (await new InterProcessLock(other, { mechanism: 'lockfile' }).acquire()).release();
    expect(existsSync(dirname(other))).toBe(true);
  });

  it.each(['flock', 'lockfile'] as const)(
    'that cannot be made are an error, not an endless loop, %s',
    async (mechanism) => {
      const script = `
      import { InterProcessLock } from 'fairlock';
      for (const file of ['/proc/1/x/lock', '/proc/1/x/y/lock']) {
        try { new InterProcessLock(file, { mechanism: '${mechanism}' }).tryAcquire() } catch ({ code, path }) { console.log(code, path.startsWith('/proc/1/x')) }
      }`;
      expect((await runScript(script)).stdout).toMatch(/^((ENOENT|EACCES) true\n){2}$/);
    },
  );

  it('whose names are not UTF-8 have queues of their own', async () => {
    const base = path();
    mkdirSync(base);
    const links = [0xfe, 0xff].map((byte, i) => {
      const folder = Buffer.concat([Buffer.from(`${base}/`), Buffer.from([byte])]);
      mkdirSync(folder);
      symlinkSync(folder, `${base}/link${i}`);
      return `${base}/link${i}/lock`;
    });
    const [one, other] = links.map(
      (link) => new InterProcessLock(link, { fairness: hasFcntl ? 'fifo' : 'kernel' }),
    ) as [InterProcessLock, InterProcessLock];
    const handles = [one.tryAcquire(), other.tryAcquire()];
    expect(handles).not.toContain(null);
    for (const handle of handles) handle?.release();
    expect(readdirSync(base, { encoding: 'buffer' }).length).toBe(4);
    rmSync(base, { recursive: true });
  });
});

describe.runIf(hasFlock)('modes', () => {
  it('ignoreUmask gives a new file exactly its mode', async () => {
    const before = process.umask(0o077);
    try {
      const [plain, exact] = [path(), path()];
      (await new InterProcessLock(plain).acquire()).release();
      (await new InterProcessLock(exact, { ignoreUmask: true }).acquire()).release();
      expect([statSync(plain).mode & 0o777, statSync(exact).mode & 0o777]).toEqual([0o600, 0o666]);
    } finally {
      process.umask(before);
    }
  });

  it.runIf(isRoot && hasFcntl)(
    'a lock that needs write access to the file of another user says so; flock does not need it',
    async () => {
      const folder = path();
      mkdirSync(folder, { mode: 0o777 });
      chmodSync(folder, 0o777);
      const file = join(folder, 'lock');
      writeFileSync(file, '', { mode: 0o644 });
      const other = Actor.start();
      needsOpenTmpdir();
      await other.call('setuid', 12345);
      await other.call('create', 'InterProcessLock', file);
      expect(await other.call('tryAcquire')).toBe(true);
      await other.call('release');
      await other.call('create', 'InterProcessLock', file, { mechanism: 'fcntl' });
      await expect(other.call('tryAcquire')).rejects.toMatchObject({
        code: 'EACCES',
        path: file,
        message: expect.stringContaining('ignoreUmask'),
      });
    },
  );
});

describe.runIf(preload !== undefined && hasFcntl)('systems at their limits', () => {
  const preloaded = (name: string, args: string[], lie = ''): ReturnType<typeof runProgram> =>
    runProgram(name, args, { LD_PRELOAD: preload, LIE: lie });
  const atLimit = async (limit: string): Promise<string> => {
    needs('flock');
    const { stdout, stderr } = await preloaded('at-limits.mjs', [limit, path(), path()]);
    expect(stderr).toBe('');
    return stdout;
  };

  it('without a thread waits are polled, of every kind', async () => {
    expect(await atLimit('threads')).toBe(`${'ERR_LOCK_TIMEOUT\n'.repeat(6)}granted\n`);
  });

  it('after a cancelled wait whose thread cannot be signalled requests poll, and nothing leaks', async () => {
    expect(await atLimit('kill')).toBe('ERR_LOCK_TIMEOUT\ngranted\n');
  });

  it('byte-range locks that are refused at run time are LockUnsupportedError; auto goes on without them', async () => {
    const { stdout } = await preloaded('refused-byte-locks.mjs', [path()], 'nothing yet');
    expect(stdout).toBe('ERR_LOCK_UNSUPPORTED true\nERR_LOCK_UNSUPPORTED true\nfalse\n');
  });

  it('a system without open-file-description locks says so at construction, and serves all else', async () => {
    const { stdout } = await preloaded('no-byte-locks.mjs', [path()], 'ofd');
    const lines = stdout.trim().split('\n');
    expect(lines.map((line) => line.replace(/ .*(needs open-file-description locks).*/, ' $1'))).toEqual([
      ...Array(3).fill('ERR_LOCK_UNSUPPORTED needs open-file-description locks'),
      'kernel true',
      'served',
    ]);
  });

  it.each(['acquire', 'acquireSync', 'wait'])(
    'a file system that locks only what is open for writing is served, %s',
    async (how) => {
      needs('flock');
      const { stdout, stderr } = await preloaded('write-only-locks.mjs', [path(), how], 'nfs');
      expect([stderr, stdout]).toEqual(['', '1\n']);
    },
  );
});

describe.runIf(hasFlock)('few descriptors', () => {
  it('with a limit of 64, locking path after path goes on', async () => {
    const folder = path();
    const script = `
      import { InterProcessLock } from 'fairlock';
      for (let i = 0; i < 300; i++) (await new InterProcessLock(${JSON.stringify(folder)} + '/' + i).acquire()).release();
      console.log('done');`;
    const limited = await run('sh', [
      '-c',
      'ulimit -n 64; exec "$@"',
      'sh',
      process.execPath,
      '--no-warnings',
      '--input-type=module',
      '-e',
      script,
    ]);
    expect([limited.stderr, limited.stdout]).toEqual(['', 'done\n']);
  });
});

describe.runIf(hasFcntl)("fairness 'auto'", () => {
  it.runIf(isRoot)('is the kernel’s order where the sidecar cannot be made', async () => {
    const folder = path();
    mkdirSync(folder);
    const file = join(folder, 'lock');
    writeFileSync(file, '', { mode: 0o666 });
    chmodSync(folder, 0o755);
    const other = Actor.start();
    needsOpenTmpdir();
    await other.call('setuid', 12345);
    await other.call('create', 'InterProcessLock', file, { fairness: 'auto' });
    expect(await other.call('tryAcquire')).toBe(true);
    expect(isFreeForFlock(file)).toBe(false);
    await other.call('release');
    await other.call('create', 'InterProcessLock', file, { fairness: 'fifo' });
    await expect(other.call('tryAcquire')).rejects.toMatchObject({
      code: 'EACCES',
      path: expect.stringContaining('fairlock-queue'),
    });
  });

  it('also where its name is too long', async () => {
    const file = join(path(), 'x'.repeat(245));
    const lock = new InterProcessLock(file, { fairness: 'auto' });
    const holder = await lock.acquire();
    const waiting = lock.acquire();
    holder.release();
    (await waiting).release();
    const semaphore = new InterProcessSemaphore(join(dirname(file), 'y'.repeat(245)), { permits: 1, fairness: 'auto' });
    const permit = await semaphore.acquire();
    const next = semaphore.acquire();
    permit.release();
    (await next).release();
  });

  it("'fifo' without the addon names what is missing, not a mechanism that was not asked for", async () => {
    const script = `
      import { InterProcessLock } from 'fairlock';
      try { new InterProcessLock('x', { fairness: 'fifo' }) } catch ({ message }) { console.log(message) }`;
    const { stdout } = await runScript(script, { FAIRLOCK_DISABLE: 'fs-ext,native-fallback' });
    expect(stdout).toMatch(/needs a native layer.*switched off/);
    expect(stdout).not.toContain('lockfile');
  });

  it('a link that is pointed elsewhere does not make the old folder anew', async () => {
    const base = path();
    for (const name of ['old', 'new']) mkdirSync(join(base, name), { recursive: true });
    symlinkSync(join(base, 'old'), join(base, 'link'));
    const lock = new InterProcessLock(join(base, 'link/lock'), { fairness: 'fifo' });
    (await lock.acquire()).release();
    rmSync(join(base, 'old'), { recursive: true });
    rmSync(join(base, 'link'));
    symlinkSync(join(base, 'new'), join(base, 'link'));
    await until(() => !readFileSync('/proc/self/maps', 'utf8').includes(join(base, 'old')));
    await lock.acquire().then(
      (handle) => handle.release(),
      (error: Error) =>
        expect(error).toMatchObject({ code: 'ENOENT', path: expect.stringContaining('fairlock-queue') }),
    );
    expect(existsSync(join(base, 'old'))).toBe(false);
  });
});

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  InterProcessLock,
  type InterProcessLockOptions,
  LockDeadlockError,
  LockLostError,
  LockMismatchError,
  LockTimeoutError,
  LockUnsupportedError,
} from '../../src/index.js';
import { lockSuite } from '../suites/lock.js';
import { hasFcntl, hasFlock, isRoot } from '../support/capabilities.js';
import { openDescriptors, testFolder } from '../support/paths.js';
import { Actor, isFreeForFlock, LineProgram, program, run, track } from '../support/programs.js';
import { rounds, some } from '../support/scale.js';
import { makeSocket, needs, needsOpenTmpdir } from '../support/tools.js';
import { outcome, settle, until } from '../support/waiting.js';

const { folder, path } = testFolder();
const TIMES = rounds(30, 500);

const mechanisms: InterProcessLockOptions[] = [
  ...(hasFlock ? [{ mechanism: 'flock' } as const] : []),
  { mechanism: 'lockfile' },
];

for (const options of mechanisms) {
  lockSuite(`InterProcessLock, ${options.mechanism}`, () => new InterProcessLock(path(), options));

  describe(`between processes, ${options.mechanism}`, () => {
    it('excludes and is excluded', async () => {
      const lock = new InterProcessLock(path(), options);
      const other = Actor.start();
      expect(await other.call('create', 'InterProcessLock', lock.path, options)).toBe(options.mechanism);
      const handle = await lock.acquire();
      expect(await other.call('tryAcquire')).toBe(false);
      await expect(other.call('acquire', { timeout: 1 })).rejects.toMatchObject({ code: 'ERR_LOCK_TIMEOUT' });
      const waiting = other.call('acquire');
      handle.release();
      await waiting;
      expect(lock.tryAcquire()).toBeNull();
      expect(() => lock.acquireSync({ timeout: 5 })).toThrow(LockTimeoutError);
      await other.call('release');
      lock.acquireSync().release();
    });

    it('4 processes × many read-modify-writes: the sum is exact', async () => {
      const counter = path(`counter-${options.mechanism}`);
      writeFileSync(counter, '0');
      const arg = JSON.stringify({ path: path(), counter, times: TIMES, options });
      const ran = await Promise.all(
        Array.from({ length: 4 }, () => run(process.execPath, [program('increment.mjs'), arg])),
      );
      expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(Array(4).fill([0, '']));
      expect(readFileSync(counter, 'utf8')).toBe(String(4 * TIMES));
    });

    it('two objects of one path, spelled differently, share one queue', async () => {
      mkdirSync(join(folder, `real-${options.mechanism}`));
      symlinkSync(join(folder, `real-${options.mechanism}`), join(folder, `link-${options.mechanism}`));
      const one = new InterProcessLock(join(folder, `real-${options.mechanism}`, '.', 'x.lock'), options);
      const two = new InterProcessLock(`${folder}/a/../link-${options.mechanism}/x.lock`, options);
      const holder = await one.acquire();
      expect(() => two.acquireSync()).toThrow(LockDeadlockError);
      const order: string[] = [];
      const all = [two, one, two, one].map((lock, i) => lock.withLock(() => void order.push(`${i}`)));
      expect([one.held, two.held]).toEqual([true, false]);
      holder.release();
      await Promise.all(all);
      expect(order).toEqual(['0', '1', '2', '3']);
    });

    it('creates missing folders, also when they are removed in between', async () => {
      const deep = join(folder, `deep-${options.mechanism}`);
      const lock = new InterProcessLock(join(deep, 'a', 'b', 'x.lock'), options);
      (await lock.acquire()).release();
      rmSync(deep, { recursive: true });
      (await lock.acquire()).release();
    });

    it('acquireSync throws at once where this thread itself is in the way', async () => {
      const lock = new InterProcessLock(path(), options);
      const handle = lock.acquireSync();
      expect(() => lock.acquireSync()).toThrow(LockDeadlockError);
      expect(() => lock.acquireSync({ timeout: 1 })).toThrow(
        expect.objectContaining({ code: 'ERR_LOCK_DEADLOCK', path: lock.path }),
      );
      handle.release();
      expect(() => lock.acquireSync({ timeout: -1 })).toThrow(RangeError);
    });

    it('refuses folders, FIFOs, sockets and symbolic links without blocking', async () => {
      const refuses = async (name: string, expected: object): Promise<void> => {
        await expect(new InterProcessLock(name, options).acquire()).rejects.toMatchObject({ path: name, ...expected });
      };
      const fifo = path();
      execFileSync('mkfifo', [fifo]);
      await refuses(fifo, { code: 'ERR_LOCK_UNSUPPORTED', message: expect.stringContaining('FIFO') });
      const socket = path();
      makeSocket(socket);
      await refuses(socket, { code: 'ERR_LOCK_UNSUPPORTED' });
      await refuses('/dev/null', { code: 'ERR_LOCK_UNSUPPORTED' });
      const link = path();
      symlinkSync('/nowhere', link);
      await refuses(link, { code: 'ELOOP', syscall: 'open' });
      const file = path();
      writeFileSync(file, '');
      const below = join(file, 'x.lock');
      await expect(new InterProcessLock(below, options).acquire()).rejects.toMatchObject({ code: 'ENOTDIR' });
      if (options.mechanism === 'lockfile') await refuses(folder, { code: 'EISDIR', syscall: 'open' });
    });

    it('followSymlinks locks what a link points to, also where nothing is yet', async () => {
      const [target, link] = [path(), path()];
      symlinkSync(target, link);
      const byLink = new InterProcessLock(link, { ...options, followSymlinks: true });
      const handle = await byLink.acquire();
      const other = Actor.start();
      await other.call('create', 'InterProcessLock', target, options);
      expect(await other.call('tryAcquire')).toBe(false);
      handle.release();
      expect(await other.call('tryAcquire')).toBe(true);
    });

    it('never touches the content, nor the place where it was', async () => {
      const file = path();
      writeFileSync(file, 'precious');
      const handle = await new InterProcessLock(file, options).acquire();
      handle.release();
      expect(readFileSync(file, 'utf8')).toBe('precious');
    });

    it('frees what is held, and gives back all descriptors', async () => {
      const before = openDescriptors();
      for (let i = 0; i < 20; i++) {
        const lock = new InterProcessLock(path(), options);
        const handle = await lock.acquire();
        const waiter = lock.acquire().catch(() => {});
        lock.close();
        await waiter;
        handle.release();
        lock.close();
      }
      expect(openDescriptors()).toBe(before);
    });

    it.runIf(isRoot)('missing permission comes as EACCES, with syscall and path', async () => {
      const closed = join(folder, `closed-${options.mechanism}`);
      mkdirSync(closed, { mode: 0o755 });
      chmodSync(folder, 0o755);
      const actor = Actor.start();
      await actor.call('create', 'InterProcessLock', join(closed, 'x.lock'), options);
      needsOpenTmpdir();
      await actor.call('setuid', 65534);
      await expect(actor.call('acquire')).rejects.toMatchObject({
        code: 'EACCES',
        syscall: expect.any(String),
        path: expect.stringContaining(closed),
      });
    });
  });
}

describe.runIf(hasFlock)('flock', () => {
  it('is what auto comes to', () => {
    expect(new InterProcessLock(path()).mechanism).toBe('flock');
  });

  it('excludes flock(1) and Python, and is excluded by them', async () => {
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    const python = new LineProgram('python3', [program('locker.py'), lock.path, 'flock']);
    expect((await run('flock', ['-n', '-E', '9', lock.path, 'true'])).code).toBe(9);
    expect(await python.ask('try exclusive')).toBe('busy');
    handle.release();
    expect(await python.ask('try exclusive')).toBe('ok');
    expect(lock.tryAcquire()).toBeNull();
    const waiting = lock.acquire();
    expect(await python.ask('unlock')).toBe('ok');
    (await waiting).release();
    const shell = new LineProgram('flock', [lock.path, 'sh', '-c', 'echo held; read _']);
    expect(await shell.line()).toBe('held');
    expect(lock.tryAcquire()).toBeNull();
    shell.child.stdin.end();
    (await lock.acquire()).release();
  });

  it('kill -9 of the holder frees it', async () => {
    const lock = new InterProcessLock(path());
    const holder = Actor.start();
    await holder.call('create', 'InterProcessLock', lock.path);
    await holder.call('acquire');
    const waiting = lock.acquire();
    expect(lock.tryAcquire()).toBeNull();
    holder.child.kill('SIGKILL');
    (await waiting).release();
  });

  it('a file whose descriptor was shown to a child carries no later lock: the child could release it', async () => {
    needs('python3');
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    const unlock = 'import fcntl, sys; sys.stdin.readline(); fcntl.flock(3, fcntl.LOCK_UN)';
    const child = track(spawn('python3', ['-c', unlock], { stdio: ['pipe', 'inherit', 'inherit', handle.fd] }));
    handle.release();
    const next = await lock.acquire();
    child.stdin?.end('\n');
    await once(child, 'exit');
    expect(isFreeForFlock(lock.path)).toBe(false);
    next.release();
  });

  it('the sum is exact while holders remove the lock file, Python among them', async () => {
    const [lock, counter] = [path(), path()];
    writeFileSync(counter, '0');
    const arg = (unlinkOnRelease: boolean): string =>
      JSON.stringify({ path: lock, counter, times: TIMES, options: { unlinkOnRelease } });
    const ran = await Promise.all([
      ...[true, true, false, false].map((unlink) => run(process.execPath, [program('increment.mjs'), arg(unlink)])),
      run('python3', [program('locker.py'), lock, 'flock', counter, String(TIMES)]),
    ]);
    expect(ran.map(({ code, stderr }) => [code, stderr])).toEqual(Array(5).fill([0, '']));
    expect(readFileSync(counter, 'utf8')).toBe(String(5 * TIMES));
  });

  it('unlinkOnRelease leaves nothing, and removes no file that took its place', async () => {
    const lock = new InterProcessLock(path(), { unlinkOnRelease: true });
    (await lock.acquire()).release();
    expect(existsSync(lock.path)).toBe(false);
    const handle = await lock.acquire();
    unlinkSync(lock.path);
    writeFileSync(lock.path, 'another program');
    handle.release();
    expect(readFileSync(lock.path, 'utf8')).toBe('another program');
  });

  it("a stranger's unlink or replacement under the holder aborts its signal", async () => {
    for (const loss of [
      (file: string) => unlinkSync(file),
      (file: string) => {
        writeFileSync(`${file}.new`, '');
        renameSync(`${file}.new`, file);
      },
    ]) {
      const lock = new InterProcessLock(path());
      const handle = await lock.acquire();
      const aborted = new Promise((resolve) => handle.signal.addEventListener('abort', resolve));
      expect(handle.signal.aborted).toBe(false);
      loss(lock.path);
      await aborted;
      expect(handle.signal.reason).toBeInstanceOf(LockLostError);
      expect(handle.signal.reason).toMatchObject({ code: 'ERR_LOCK_LOST', path: lock.path });
      expect([handle.released, lock.held]).toEqual([false, true]);
      handle.release();
      (await lock.acquire()).release();
    }
  });

  it('is told of a loss that came before the first look, and of none after release', async () => {
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    unlinkSync(lock.path);
    expect(handle.signal.aborted).toBe(true);
    handle.release();
    const next = await lock.acquire();
    const { signal } = next;
    next.release();
    unlinkSync(lock.path);
    await settle();
    expect(signal.aborted).toBe(false);
  });

  it('what is contended on an orphan is not contended at the path', async () => {
    const lock = new InterProcessLock(path());
    (await lock.acquire()).release();
    const other = Actor.start();
    await other.call('create', 'InterProcessLock', lock.path);
    await other.call('acquire');
    unlinkSync(lock.path);
    const handle = lock.tryAcquire();
    expect(handle).not.toBeNull();
    handle?.release();
  });

  it('locks a directory itself', async () => {
    const directory = path();
    mkdirSync(directory);
    const lock = new InterProcessLock(directory);
    const handle = await lock.acquire();
    expect((await run('flock', ['-n', '-E', '9', directory, 'true'])).code).toBe(9);
    expect(statSync(directory).mode & 0o1000).toBe(0);
    handle.release();
  });

  it('fd is the descriptor that holds it, shared by a child that gets it', async () => {
    const lock = new InterProcessLock(path());
    const handle = await lock.acquire();
    expect(statSync(`/proc/self/fd/${handle.fd}`).ino).toBe(statSync(lock.path).ino);
    const { spawn } = await import('node:child_process');
    const child = spawn('sh', ['-c', 'echo ready; read _'], {
      stdio: ['pipe', 'pipe', 'inherit', handle.fd as number],
    });
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    handle.release();
    expect(handle.fd).toBeUndefined();
    // Release is an explicit unlock, whatever other process has the open file, and that open file is not used again.
    const next = await lock.acquire();
    expect((await run('flock', ['-n', '-E', '9', lock.path, 'true'])).code).toBe(9);
    next.release();
    expect((await run('flock', ['-n', '-E', '9', lock.path, 'true'])).code).toBe(0);
    child.stdin?.end();
  });

  it('a read-only file is locked read-only; hard links are one lock', async () => {
    const file = path();
    writeFileSync(file, 'x', { mode: 0o444 });
    const handle = await new InterProcessLock(file).acquire();
    const alias = path();
    linkSync(file, alias);
    expect(new InterProcessLock(alias).tryAcquire()).toBeNull();
    handle.release();
  });

  it.runIf(isRoot)("another user's read-only file can be locked without root", async () => {
    chmodSync(folder, 0o755);
    const file = path();
    writeFileSync(file, '', { mode: 0o444 });
    const actor = Actor.start();
    await actor.call('create', 'InterProcessLock', file);
    needsOpenTmpdir();
    await actor.call('setuid', 65534);
    expect(await actor.call('tryAcquire')).toBe(true);
    expect(new InterProcessLock(file).tryAcquire()).toBeNull();
  });

  it('a full table of descriptors comes as EMFILE and leaves the queue usable', async () => {
    // A new one: descriptors that one had kept from earlier tests would be given up for this.
    const actor = Actor.start({});
    await actor.call('create', 'InterProcessLock', path());
    await actor.call('exhaustDescriptors');
    await expect(actor.call('acquire')).rejects.toMatchObject({
      code: 'EMFILE',
      syscall: 'open',
      path: expect.stringContaining(folder),
    });
    await actor.call('freeDescriptors');
    await actor.call('acquire');
    await actor.call('release');
  });

  it('very many different paths one after another keep descriptors and memory bounded', async () => {
    globalThis.gc?.();
    const before = { descriptors: openDescriptors(), heap: process.memoryUsage().heapUsed };
    let most = 0;
    for (let i = 0; i < rounds(1_000, 100_000); i++) {
      const lock = new InterProcessLock(join(folder, 'many', `${i}`), { unlinkOnRelease: i % 100 !== 0 });
      (await lock.acquire()).release();
      if (i % 1000 !== 0) continue;
      most = Math.max(most, openDescriptors());
      await settle(); // finalizers run between turns of the event loop
    }
    expect(most - before.descriptors).toBeLessThan(200);
    // When finalizers run is the engine's choice.
    await until(async () => {
      globalThis.gc?.();
      await settle();
      return process.memoryUsage().heapUsed - before.heap < 20_000_000;
    });
  }, 600_000);

  it('a handle lost to the garbage collector warns once, naming the path, and the lock stays held', async () => {
    const file = path();
    const warnings: (Error & { code?: string })[] = [];
    const listener = (warning: Error): void => void warnings.push(warning);
    process.on('warning', listener);
    await (async () => {
      await new InterProcessLock(file).acquire();
    })();
    await until(async () => {
      globalThis.gc?.();
      await settle();
      return warnings.length > 0;
    });
    expect(warnings[0]).toMatchObject({ code: 'FAIRLOCK_HANDLE_LOST', message: expect.stringContaining(file) });
    expect(new InterProcessLock(file).tryAcquire()).toBeNull();
    expect(() => new InterProcessLock(file).acquireSync()).toThrow(LockDeadlockError);
    process.off('warning', listener);
  });

  it('a bound release and a signal keep the handle', async () => {
    const { release } = await new InterProcessLock(path()).acquire();
    const { signal } = await new InterProcessLock(path()).acquire();
    const warned = outcome(new Promise((resolve) => process.once('warning', resolve)));
    for (let i = 0; i < 5; i++) {
      globalThis.gc?.();
      await settle();
    }
    expect(warned.state).toBe('pending');
    release();
    expect(signal.aborted).toBe(false);
  });
});

describe('arguments', () => {
  it('are checked before anything is touched', () => {
    const bad: [unknown, unknown, ErrorConstructor, string][] = [
      ['', {}, TypeError, 'path'],
      ['a\0b', {}, TypeError, 'NUL'],
      [5, {}, TypeError, '5 (number)'],
      [undefined, {}, TypeError, 'path'],
      [new URL('http://example.org/'), {}, TypeError, 'file'],
      [path(), { mechanism: 'semaphore' }, TypeError, '"semaphore"'],
      [path(), { mode: -1 }, RangeError, 'mode'],
      [path(), { mode: 0.5 }, RangeError, 'whole'],
      [path(), { followSymlinks: 'yes' }, TypeError, 'followSymlinks'],
      [path(), { unlinkOnRelease: 1 }, TypeError, 'unlinkOnRelease'],
      [path(), { mechanism: 'lockfile', stale: 1999 }, RangeError, 'stale'],
      [path(), { mechanism: 'lockfile', update: 6000 }, RangeError, 'update'],
      [path(), { mechanism: 'flock', stale: 5000 }, TypeError, 'stale'],
      [path(), 'flock', TypeError, 'options'],
    ];
    for (const [where, options, error, text] of bad) {
      const create = (): unknown => new InterProcessLock(where as string, options as InterProcessLockOptions);
      expect(create, text).toThrow(error);
      expect(create).toThrow(text);
    }
  });

  it('a path may be a file URL', () => {
    expect(new InterProcessLock(pathToFileURL(path('by url'))).path).toBe(path('by url'));
  });

  it('an unsupported error names path and reason', () => {
    expect(new LockUnsupportedError('/x', 'why').message).toBe("cannot lock '/x': why");
  });
});

const inheritable: InterProcessLockOptions[] = [
  ...(hasFlock ? [{ mechanism: 'flock' } as const] : []),
  ...(hasFcntl ? [{ mechanism: 'fcntl' } as const, { mechanism: 'flock', fairness: 'fifo' } as const] : []),
];

describe.each(some(inheritable, 2))('a lock that a child inherits, $mechanism $fairness', (options) => {
  const INHERITED = 4;

  async function childWith(lock: InterProcessLock, fd: number): Promise<Actor> {
    const child = Actor.start({ stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd] });
    await child.call('create', 'InterProcessLock', lock.path, options);
    return child;
  }

  it('goes over to the child, and is free when the child releases it', async () => {
    const lock = new InterProcessLock(path(), options);
    const handle = await lock.acquire();
    const fd = handle.fd as number;
    const child = await childWith(lock, fd);
    await child.call('adopt', INHERITED);
    handle.detach();
    expect([handle.released, handle.fd, lock.held]).toEqual([true, undefined, false]);
    expect(() => fstatSync(fd)).toThrow(/EBADF/);
    handle.detach();
    handle.release();
    expect(lock.tryAcquire()).toBeNull();
    const waiting = lock.acquire();
    await settle();
    await child.call('release');
    (await waiting).release();
    await child.kill();
  });

  it('is free when the child is killed', async () => {
    const lock = new InterProcessLock(path(), options);
    const handle = await lock.acquire();
    const child = await childWith(lock, handle.fd as number);
    handle.detach();
    expect(lock.tryAcquire()).toBeNull();
    const waiting = lock.acquire();
    await child.kill();
    (await waiting).release();
  });

  it('is adopted before requests of the same thread that wait for it', async () => {
    const lock = new InterProcessLock(path(), options);
    const handle = await lock.acquire();
    const child = await childWith(lock, handle.fd as number);
    const waiting = child.call('acquire');
    await settle();
    const index = await child.call('adopt', INHERITED);
    handle.detach();
    await child.call('release', index);
    await waiting;
    expect(lock.tryAcquire()).toBeNull();
    await child.kill();
  });

  it('is refused where the descriptor does not hold it', async () => {
    const [lock, other] = [new InterProcessLock(path(), options), new InterProcessLock(path(), options)];
    const [handle, otherHandle] = [await lock.acquire(), await other.acquire()];
    expect(() => lock.adopt(handle.fd as number)).toThrow(LockDeadlockError);
    const child = await childWith(lock, otherHandle.fd as number);
    await expect(child.call('adopt', INHERITED)).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      message: expect.stringContaining('another file'),
    });
    await expect(child.call('adopt', 999)).rejects.toMatchObject({ code: 'EBADF', syscall: 'fstat', path: lock.path });
    handle.release();
    const third = new InterProcessLock(lock.path, options);
    const holder = await third.acquire();
    // The file at the path, but not locked through this descriptor.
    const unlocked = openSync(lock.path, 'r+');
    expect(() => new InterProcessLock(lock.path, options).adopt(unlocked)).toThrow(LockDeadlockError);
    holder.release();
    await child.call('acquire');
    expect(() => lock.adopt(unlocked)).toThrow(LockMismatchError);
    await child.call('release');
    lock.adopt(unlocked).release();
    expect(() => closeSync(unlocked)).toThrow(/EBADF/);
    for (const wrong of ['4', -1, 1.5, NaN]) expect(() => lock.adopt(wrong as never)).toThrow(/^fd: /);
    otherHandle.release();
  });
});

it('a lock folder is left to no process, and a lock that is held several times neither', async () => {
  const folderLock = new InterProcessLock(path(), { mechanism: 'lockfile' });
  const handle = await folderLock.acquire();
  expect(() => handle.detach()).toThrow(LockUnsupportedError);
  expect(() => folderLock.adopt(0)).toThrow(LockUnsupportedError);
  expect(handle.released).toBe(false);
  handle.release();
  if (!hasFlock) return;
  const reentrant = new InterProcessLock(path(), { reentrant: true });
  await reentrant.withLock(async () => {
    const again = await reentrant.acquire();
    expect(() => again.detach()).toThrow(LockUnsupportedError);
    again.release();
  });
});

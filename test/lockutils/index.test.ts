import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FifoMutex, InterProcessLock, LockTimeoutError, ReaderWriterLock } from '../../src/index.js';
import {
  AcquireLockFailedException,
  externalLock,
  FairLocks,
  getLockPath,
  internalFairLock,
  internalLock,
  type LockEvent,
  lock,
  lockWithPrefix,
  OSLO_LOCK_PATH,
  removeExternalLockFile,
  removeExternalLockFileWithPrefix,
  Semaphores,
  setDefaults,
  synchronized,
  synchronizedWithPrefix,
  withLock,
} from '../../src/lockutils/index.js';
import { type TemporaryLockPath, temporaryLockPath } from '../../src/testing/index.js';
import { hasFcntl, hasFlock, isRoot } from '../support/capabilities.js';
import { LineProgram, program, run, runScript } from '../support/programs.js';
import { needsOpenTmpdir } from '../support/tools.js';
import { outcome, settle, until } from '../support/waiting.js';

let folder: TemporaryLockPath;
beforeEach(() => {
  folder = temporaryLockPath();
});
afterEach(() => folder.remove());

const EXTERNAL = { external: true } as const;

describe('lock', () => {
  it('excludes the other tasks of the process, in order', async () => {
    const first = await lock('a');
    const order: number[] = [];
    const rest = [1, 2, 3].map((i) => withLock('a', () => void order.push(i)));
    const other = await lock('b');
    first.release();
    await Promise.all(rest);
    expect(order).toEqual([1, 2, 3]);
    other.release();
    expect(readdirSync(folder.path)).toEqual([]); // an internal lock has no file
  });

  it('is not re-entrant', async () => {
    await withLock('a', () => expect(lock('a', { timeout: 5 })).rejects.toThrow(LockTimeoutError));
  });

  it('the internal lock goes by the name alone, whatever the prefix', async () => {
    const handle = await lock('a', { lockFilePrefix: 'one', ...EXTERNAL });
    await expect(lock('a', { lockFilePrefix: 'two', blocking: false })).rejects.toThrow(AcquireLockFailedException);
    handle.release();
  });

  it.runIf(hasFlock)('external takes the internal one first, then the file', async () => {
    const handle = await lock('a', EXTERNAL);
    expect([internalLock('a').held, externalLock('a').tryAcquire()]).toEqual([true, null]);
    expect(readdirSync(folder.path)).toEqual(['a']);
    handle.release();
    handle.release();
    expect([handle.released, internalLock('a').held]).toEqual([true, false]);
    // The file alone is held: the internal lock was taken and is given back.
    const file = await externalLock('a').acquire();
    await expect(lock('a', { ...EXTERNAL, timeout: 5 })).rejects.toThrow(LockTimeoutError);
    expect(internalLock('a').held).toBe(false);
    file.release();
  });

  it.runIf(hasFlock)('names files as upstream does', async () => {
    for (const [name, lockFilePrefix, file] of [
      ['a/b/c', undefined, 'a_b_c'],
      ['a', 'nova', 'nova-a'],
      ['a', 'nova-', 'nova-a'],
      ['a/b', 'x', 'x-a_b'],
    ] as const) {
      (await lock(name, { ...EXTERNAL, lockFilePrefix })).release();
      expect(existsSync(folder.file(file))).toBe(true);
      expect(externalLock(name, { lockFilePrefix }).path).toBe(folder.file(file));
    }
  });

  it.runIf(hasFlock)('needs a lock path for external locks, and says so before anything is taken', async () => {
    setDefaults({ lockPath: undefined });
    await expect(lock('a', EXTERNAL)).rejects.toThrow(/lockPath: required for the external lock "a".*OSLO_LOCK_PATH/);
    expect(internalLock('a').held).toBe(false);
    (await lock('a', { ...EXTERNAL, lockPath: join(folder.path, 'own') })).release();
    expect(existsSync(folder.file('own/a'))).toBe(true);
    process.env[OSLO_LOCK_PATH] = folder.path;
    expect(getLockPath()).toBe(folder.path);
    (await lock('b', EXTERNAL)).release();
    delete process.env[OSLO_LOCK_PATH];
    expect(getLockPath()).toBeUndefined();
    setDefaults({ lockPath: folder.path });
  });

  it('disableProcessLocking leaves the internal lock', async () => {
    setDefaults({ disableProcessLocking: true });
    const handle = await lock('a', EXTERNAL);
    expect(internalLock('a').held).toBe(true);
    expect(readdirSync(folder.path)).toEqual([]);
    handle.release();
    setDefaults({ disableProcessLocking: false });
    expect(getLockPath()).toBe(folder.path);
  });

  it('blocking: false fails instead of waiting, on either lock', async () => {
    const inside = await lock('a');
    await expect(lock('a', { blocking: false })).rejects.toThrow('Failed to acquire the lock a');
    inside.release();
    const file = await externalLock('a').acquire();
    await expect(lock('a', { ...EXTERNAL, blocking: false })).rejects.toBeInstanceOf(AcquireLockFailedException);
    expect(internalLock('a').held).toBe(false);
    file.release();
    (await lock('a', { ...EXTERNAL, blocking: false })).release();
  });

  it('semaphores keep internal locks apart', async () => {
    const [one, two] = [new Semaphores(), new Semaphores()];
    const first = await lock('a', { semaphores: one });
    const second = await lock('a', { semaphores: two });
    const plain = await lock('a');
    await expect(lock('a', { semaphores: one, fair: true, blocking: false })).rejects.toThrow(
      AcquireLockFailedException,
    );
    for (const handle of [first, second, plain]) handle.release();
  });

  it('fair combines with every option, and excludes code that is not fair', async () => {
    const handle = await lock('a', { ...EXTERNAL, fair: true, delay: 10, doLog: false });
    await expect(lock('a', { blocking: false })).rejects.toThrow(AcquireLockFailedException);
    expect(internalFairLock('a').tryAcquireRead()).toBeNull();
    if (hasFcntl) expect(externalLock('a', { fair: true }).inspect().fairness).toBe('fifo');
    handle.release();
  });

  it('timeout and signal end the wait', async () => {
    const handle = await lock('a');
    await expect(lock('a', { timeout: 2 })).rejects.toThrow(LockTimeoutError);
    const controller = new AbortController();
    const waiting = expect(lock('a', { signal: controller.signal })).rejects.toThrow('enough');
    controller.abort(new Error('enough'));
    await waiting;
    handle.release();
  });

  it('the handle is that of the file, where there is one', async () => {
    const handle = await lock('a', EXTERNAL);
    expect(handle.shared).toBe(false);
    expect(handle.signal.aborted).toBe(false);
    if (hasFcntl) expect(handle.fd).toBeTypeOf('number');
    await using _same = handle;
  });

  it('tells of acquiring, waiting and holding', async () => {
    const events: LockEvent[] = [];
    const listener = (message: unknown): void => void events.push(message as LockEvent);
    subscribe('fairlock:lockutils', listener);
    const work = synchronized('a')(async function work() {});
    await work();
    await withLock('quiet', { doLog: false }, () => {});
    unsubscribe('fairlock:lockutils', listener);
    const common = { name: 'a', external: false, by: 'work' };
    expect(events).toEqual([
      { event: 'acquiring', ...common },
      { event: 'acquired', ...common, waited: expect.any(Number) },
      { event: 'released', ...common, held: expect.any(Number) },
    ]);
    const script = "import { withLock } from 'fairlock/lockutils'; await withLock('a', () => {});";
    const { stderr } = await run(process.execPath, ['--input-type=module', '-e', script], { NODE_DEBUG: 'fairlock' });
    expect(stderr).toMatch(/acquired lock "a" :: waited [\d.]+ ms.*released lock "a" :: held [\d.]+ ms/s);
  });

  it('refuses bad arguments before anything is taken', async () => {
    const bad: [unknown, unknown, ErrorConstructor][] = [
      [5, {}, TypeError],
      ['', {}, TypeError],
      ['a', 5, TypeError],
      ['a', { external: 'yes' }, TypeError],
      ['a', { timeout: -1 }, RangeError],
      ['a', { delay: 'x' }, TypeError],
      ['a', { lockPath: 5 }, TypeError],
      ['a', { semaphores: new Map() }, TypeError],
    ] as never;
    for (const [name, options, error] of bad)
      await expect(lock(name as string, options as object)).rejects.toThrow(error);
    await expect(withLock('a', undefined as never)).rejects.toThrow(TypeError);
    expect(() => synchronized(5 as never)).toThrow(TypeError);
    expect(() => setDefaults({ lockPath: 5 as never })).toThrow(TypeError);
    expect(() => setDefaults({ disableProcessLocking: 'no' as never })).toThrow(TypeError);
    expect(internalLock('a').held).toBe(false);
  });
});

describe('synchronized', () => {
  it.runIf(hasFlock)(
    'lets one call at a time in, over different functions of one name, and with a prefix between processes',
    async () => {
      const inPrefix = synchronizedWithPrefix('foo');
      let inside = 0;
      const body = async (): Promise<void> => {
        expect(++inside).toBe(1);
        await settle();
        inside--;
      };
      const [one, two] = [inPrefix('bar', EXTERNAL)(body), synchronized('bar')(body)];
      await Promise.all([one(), two(), one(), two()]);
      expect(readdirSync(folder.path)).toEqual(['foo-bar']);
    },
  );
});

describe('prefixes', () => {
  it.runIf(hasFlock)('lockWithPrefix and removeExternalLockFileWithPrefix', async () => {
    (await lockWithPrefix('nova')('a', EXTERNAL)).release();
    expect(readdirSync(folder.path)).toEqual(['nova-a']);
    await removeExternalLockFileWithPrefix('nova')('a');
    expect(readdirSync(folder.path)).toEqual([]);
  });
});

describe('removeExternalLockFile', () => {
  it.runIf(hasFlock)('takes the locks before it removes the file', async () => {
    const handle = await lock('a', EXTERNAL);
    const removing = outcome(removeExternalLockFile('a'));
    await settle();
    expect([removing.state, existsSync(folder.file('a'))]).toEqual(['pending', true]);
    handle.release();
    await until(() => removing.state === 'fulfilled');
    expect(existsSync(folder.file('a'))).toBe(false);
    // Held by code that does not know of our internal lock.
    const file = await externalLock('b').acquire();
    await expect(removeExternalLockFile('b', { timeout: 5 })).rejects.toThrow(LockTimeoutError);
    expect([existsSync(folder.file('b')), internalLock('b').held]).toEqual([true, false]);
    file.release();
    await removeExternalLockFile('b');
    await removeExternalLockFile('never there');
    expect(readdirSync(folder.path)).toEqual([]);
  });
});

describe('internal locks', () => {
  it('are the same for the same name, and forgotten when no code uses them', async () => {
    expect(internalLock('a')).toBe(internalLock('a'));
    expect(internalLock('a')).toBeInstanceOf(FifoMutex);
    expect(internalFairLock('a')).toBe(internalFairLock('a'));
    expect(internalFairLock('a')).toBeInstanceOf(ReaderWriterLock);
    const semaphores = new Semaphores();
    const kept = semaphores.get('kept');
    semaphores.get('dropped');
    expect(semaphores.size).toBe(2);
    await until(async () => {
      await settle();
      globalThis.gc?.();
      return semaphores.size === 1;
    });
    expect(semaphores.get('kept')).toBe(kept);
    const fair = new FairLocks();
    expect(fair.get('x')).toBe(fair.get('x'));
    expect(fair.size).toBe(1);
  });

  it('blocking: false', async () => {
    const held = await internalLock('a').acquire();
    const impatient = internalLock('a', { blocking: false });
    await expect(impatient.acquire()).rejects.toThrow(AcquireLockFailedException);
    await expect(impatient.withLock(() => {})).rejects.toThrow(AcquireLockFailedException);
    expect([impatient.tryAcquire(), impatient.held]).toEqual([null, true]);
    held.release();
    (await impatient.acquire()).release();
  });
});

describe.runIf(hasFcntl)('the Python services', () => {
  it('are excluded and exclude: same file, same fcntl lock', async () => {
    const handle = await lock('shared/name', { ...EXTERNAL, lockFilePrefix: 'nova' });
    const python = new LineProgram('python3', [program('locker.py'), folder.file('nova-shared_name'), 'lockf']);
    expect(await python.ask('try exclusive')).toBe('busy');
    handle.release();
    expect(await python.ask('try exclusive')).toBe('ok');
    await expect(lock('shared/name', { ...EXTERNAL, lockFilePrefix: 'nova', blocking: false })).rejects.toThrow(
      AcquireLockFailedException,
    );
    const waiting = lock('shared/name', { ...EXTERNAL, lockFilePrefix: 'nova' });
    await python.ask('unlock');
    (await waiting).release();
  });
});

describe.runIf(!hasFcntl)('without fcntl', () => {
  it('external locks use what there is, and exclude each other', async () => {
    writeFileSync(folder.file('x'), '');
    const handle = await lock('a', EXTERNAL);
    expect(new InterProcessLock(folder.file('a')).tryAcquire()).toBeNull();
    handle.release();
  });
});

describe('what would have no effect', () => {
  it('withLock(name, fn, options) is refused: it would lock nothing between processes', async () => {
    const ran = vi.fn();
    await expect(
      (withLock as unknown as (...args: unknown[]) => Promise<unknown>)('n', ran, { external: true }),
    ).rejects.toThrow(/options: they come before/);
    await expect(lock('n', { externl: true } as object)).rejects.toThrow(/externl: .*did you mean external\?/);
    expect(() => setDefaults({ lockpath: '/x' } as object)).toThrow(/lockpath: .*did you mean lockPath\?/);
    expect(ran).not.toHaveBeenCalled();
  });
});

describe.runIf(isRoot)('removeExternalLockFile', () => {
  it('tells of a file that it cannot remove, and rejects nothing', async () => {
    needsOpenTmpdir();
    const where = folder.file('of-root');
    mkdirSync(where);
    chmodSync(folder.path, 0o755);
    writeFileSync(`${where}/n`, '');
    const script = `
      import { subscribe } from 'node:diagnostics_channel';
      import { removeExternalLockFile } from 'fairlock/lockutils';
      process.setgid(12345); process.setuid(12345);
      subscribe('fairlock:lockutils', ({ event, name, error }) => console.log(event, name, error));
      await removeExternalLockFile('n', { lockPath: ${JSON.stringify(where)} });`;
    const { stdout, stderr } = await runScript(script);
    expect([stderr, stdout]).toEqual(['', expect.stringMatching(/^not removed n .*(EACCES|undefined)/)]);
  });
});

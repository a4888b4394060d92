// A small suite for test runners that give each test file a realm of its own, in the words that all of them know.
export default function suite({ modules, timers, test, expect, beforeEach, afterEach }) {
  const { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore, LockTimeoutError, lockBeside } =
    modules.fairlock;
  const { LeaderElection, runOnce, LockManager, synchronized, temporaryLockPath, spawn } = modules;
  let folder;
  beforeEach(() => {
    folder = temporaryLockPath();
  });
  afterEach(() => folder.remove());

  for (const options of [
    {},
    { fairness: 'fifo' },
    { mechanism: 'fcntl' },
    { mechanism: 'lockfile' },
    { unlinkOnRelease: true },
  ]) {
    test(`a new path, then a queue: ${JSON.stringify(options)}`, async () => {
      const lock = new InterProcessLock(folder.file('missing/folders/a.lock'), options);
      const first = await lock.acquire();
      expect(lock.tryAcquire()).toBe(null);
      const order = [];
      const all = [1, 2, 3].map((n) => lock.withLock(() => order.push(n)));
      const late = await lock.acquire({ timeout: 1 }).catch((error) => error);
      expect(late instanceof LockTimeoutError).toBe(true);
      expect(await lock.acquire({ signal: AbortSignal.timeout(1) }).catch(({ name }) => name)).toBe('TimeoutError');
      first.release();
      await Promise.all(all);
      expect(order).toEqual([1, 2, 3]);
    });
  }
  test('contended by another process', async () => {
    const file = folder.file('a.lock');
    const holder = spawn('flock', [file, 'sh', '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const lock = new InterProcessLock(file);
    expect([lock.tryAcquire(), lock.isLocked()]).toEqual([null, true]);
    const waiting = lock.acquire();
    holder.stdin.end();
    (await waiting).release();
  });
  test('system errors are themselves', async () => {
    const error = await new InterProcessLock('/proc/x/a.lock').acquire().catch((reason) => reason);
    expect(error.code).toBe('ENOENT');
  });
  test('a URL is a path', () => {
    new InterProcessLock(new URL(`file://${folder.file('a.lock')}`)).tryAcquire().release();
  });
  test('readers, semaphores, files beside', async () => {
    const lock = new InterProcessReaderWriterLock(folder.file('rw.lock'));
    const readers = await Promise.all([lock.acquireRead(), lock.acquireRead()]);
    const writer = lock.acquireWrite();
    for (const reader of readers) reader.release();
    (await writer).release();
    const semaphore = new InterProcessSemaphore(folder.file('s.lock'), { permits: 2 });
    const permits = [await semaphore.acquire(), await semaphore.acquire()];
    const third = semaphore.acquire();
    for (const permit of permits) permit.release();
    (await third).release();
    await lockBeside(folder.file('data.json')).withLock(() => {});
  });
  test('cluster, web locks, lockutils', async () => {
    expect(await runOnce(folder.file('once.lock'), () => 1, { key: 'k' })).toBe(1);
    await expect(
      runOnce(
        folder.file('once.lock'),
        () => {
          throw new Error('no');
        },
        { key: 'l' },
      ),
    ).rejects.toThrow('no');
    expect(await new LeaderElection(folder.file('leader.lock')).run(({ token }) => token > 0)).toBe(true);
    const locks = new LockManager(folder.file('names'));
    expect(await locks.request('n', { signal: new AbortController().signal }, () => 'got')).toBe('got');
    expect(await synchronized('s', { external: true })(() => 2)()).toBe(2);
  });
  test('fake timers that are on at first use', async () => {
    timers.useFakeTimers();
    const lock = new InterProcessLock(folder.file('fake.lock'));
    const first = await lock.acquire();
    const waiting = lock.acquire();
    first.release();
    (await waiting).release();
    timers.useRealTimers();
  });
  test('timeouts and notices under fake timers', async () => {
    const lock = new InterProcessLock(folder.file('faked.lock'));
    const first = await lock.acquire();
    timers.useFakeTimers();
    const late = await lock.acquire({ timeout: 1 }).catch(({ code }) => code);
    // Not one wait for both: the holders are looked for before the notice is given, which may take longer than a timeout.
    const noticed = await new Promise((resolve) => {
      const controller = new AbortController();
      const onWait = () => {
        resolve(true);
        controller.abort();
      };
      lock.acquire({ waitNotice: 1, onWait, signal: controller.signal }).catch(() => {});
    });
    timers.useRealTimers();
    expect([late, noticed]).toEqual(['ERR_LOCK_TIMEOUT', true]);
    first.release();
  });
}

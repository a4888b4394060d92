import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { isAbortSignal, onAbort } from '../src/abort.js';
import { FifoMutex, InterProcessLock } from '../src/index.js';
import { hasFlock } from './support/capabilities.js';
import { testFolder } from './support/paths.js';
import { runScript } from './support/programs.js';
import { settle } from './support/waiting.js';

const { path } = testFolder();

describe('abort signals', () => {
  it('a thousand waits with one signal are one listener, and all end with it', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    const mutex = new FifoMutex();
    const holder = await mutex.acquire();
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    const all = Array.from({ length: 1000 }, () => mutex.acquire({ signal }).catch((reason: unknown) => reason));
    await settle();
    expect(listeners).toBe(1);
    const reason = new Error('enough');
    controller.abort(reason);
    expect(new Set(await Promise.all(all))).toEqual(new Set([reason]));
    holder.release();
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it('nothing is left of a wait that was granted: no listener, and nothing that keeps the process alive', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length;
    const mutex = new FifoMutex();
    const { signal } = new AbortController();
    const other = new AbortController();
    const before = timers();
    const holder = await mutex.acquire({ signal });
    expect([getEventListeners(signal, 'abort').length, timers()]).toEqual([0, before]);
    const waits = [signal, signal, other.signal].map((one) => mutex.acquire({ signal: one }));
    expect([getEventListeners(signal, 'abort').length, timers()]).toEqual([1, before + 1]);
    holder.release();
    (await waits[0])?.release();
    // One of the two is still waiting, or was until now.
    (await waits[1])?.release();
    (await waits[2])?.release();
    expect([
      getEventListeners(signal, 'abort').length,
      getEventListeners(other.signal, 'abort').length,
      timers(),
    ]).toEqual([0, 0, before]);
    other.abort();
  });

  it('a wait that another one’s end cancels is cancelled once, and the others hear of the abort all the same', () => {
    const { signal, abort } = (() => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: () => controller.abort() };
    })();
    const log: string[] = [];
    const ends: (() => void)[] = [];
    ends.push(
      onAbort(signal, () => {
        log.push('first');
        ends[1]?.();
      }),
      onAbort(signal, () => log.push('second')),
      onAbort(signal, () => log.push('third')),
    );
    abort();
    for (const end of ends) end();
    expect([log, getEventListeners(signal, 'abort').length]).toEqual([['first', 'third'], 0]);
  });

  it.each([
    null,
    undefined,
    1,
    'signal',
    {},
    { aborted: false },
    { aborted: false, addEventListener() {} },
    { addEventListener() {}, removeEventListener() {} },
  ])('%j is none', async (signal) => {
    if (signal !== undefined)
      await expect(new FifoMutex().acquire({ signal } as never)).rejects.toThrow(/signal: expected an AbortSignal/);
    expect(isAbortSignal(signal)).toBe(false);
  });

  it('one without a reason, of a polyfill, rejects with an AbortError', async () => {
    const target = new EventTarget();
    const signal = Object.assign(target, { aborted: false }) as unknown as AbortSignal & { aborted: boolean };
    const mutex = new FifoMutex();
    const holder = await mutex.acquire();
    const wait = mutex.acquire({ signal });
    Object.assign(signal, { aborted: true });
    target.dispatchEvent(new Event('abort'));
    await expect(wait).rejects.toMatchObject({ name: 'AbortError', message: 'This operation was aborted' });
    await expect(mutex.acquire({ signal })).rejects.toMatchObject({ name: 'AbortError' });
    holder.release();
  });

  it.runIf(hasFlock)('one of another realm is a signal', async () => {
    const { createContext, runInContext } = await import('node:vm');
    const foreign = runInContext(
      '({ aborted: true, addEventListener() {}, removeEventListener() {}, reason: "elsewhere" })',
      createContext({}),
    );
    await expect(new InterProcessLock(path()).acquire({ signal: foreign as AbortSignal })).rejects.toBe('elsewhere');
  });

  it.runIf(hasFlock)('a wait that AbortSignal.timeout() can end keeps the process alive until then', async () => {
    const script = `
      import { InterProcessLock } from 'fairlock';
      const lock = new InterProcessLock(${JSON.stringify(path())});
      await lock.acquire();
      await lock.acquire({ signal: AbortSignal.timeout(50) }).catch(({ name }) => console.log(name));`;
    const { stdout, code } = await runScript(script);
    expect([code, stdout]).toEqual([0, 'TimeoutError\n']);
  });
});

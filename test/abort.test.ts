import { describe, expect, it } from 'vitest';
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

  it('one without a reason, of a polyfill, rejects with an AbortError', async () => {
    const target = new EventTarget();
    const signal = Object.assign(target, { aborted: false }) as unknown as AbortSignal & { aborted: boolean };
    const mutex = new FifoMutex();
    const holder = await mutex.acquire();
    const wait = mutex.acquire({ signal });
    Object.assign(signal, { aborted: true });
    target.dispatchEvent(new Event('abort'));
    await expect(wait).rejects.toMatchObject({ name: 'AbortError' });
    await expect(mutex.acquire({ signal })).rejects.toMatchObject({ name: 'AbortError' });
    holder.release();
  });

  it.runIf(hasFlock)('one of another realm is a signal', async () => {
    const { createContext, runInContext } = await import('node:vm');
    const foreign = runInContext('({ aborted: true, addEventListener() {}, removeEventListener() {}, reason: "elsewhere" })', createContext({}));
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

import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { testFolder } from '../support/paths.js';
import { program, run } from '../support/programs.js';
import { rounds } from '../support/scale.js';

const WORKER = program('worker-locker.mjs');

/**
 * Main thread and Workers lock at the same time, `rounds` times anew: in a process of its own, since what is feared is
 * its death.
 */
function script(path: string, counter: string, options: object, rounds: number): string {
  return `
    import { Worker } from 'node:worker_threads';
    import { once } from 'node:events';
    import { readFileSync, writeFileSync } from 'node:fs';
    import { InterProcessLock } from 'fairlock';
    const [path, counter, options] = ${JSON.stringify([path, counter, options])};
    const lock = new InterProcessLock(path, options);
    const problems = [];
    for (let round = 0; round < ${rounds}; round++) {
      const workers = [1, 2].map(() => new Worker(${JSON.stringify(WORKER)}, { execArgv: [], workerData: { path, counter, times: 10, options } }));
      const ended = workers.map((worker) => (worker.on('message', (message) => problems.push(message)), once(worker, 'exit')));
      for (let turn = 0; turn < 10; turn++) {
        await lock.withLock(() => writeFileSync(counter, String(Number(readFileSync(counter, 'utf8')) + 1)));
      }
      await Promise.all(ended);
    }
    console.log(JSON.stringify({ counter: readFileSync(counter, 'utf8'), problems: [...new Set(problems.map(({ code }) => code))] }));`;
}

describe('Workers', () => {
  const { path } = testFolder();
  const TIMES = rounds(3, 20);

  async function together(options: object, rounds: number): Promise<{ counter: string; problems: string[] }> {
    const [file, counter] = [path(), path()];
    writeFileSync(counter, '0');
    const ran = await run(
      process.execPath,
      ['--no-warnings', '--input-type=module', '-e', script(file, counter, options, rounds)],
      {
        NODE_NO_WARNINGS: '1',
      },
    );
    expect([ran.code, ran.signal, ran.stderr]).toEqual([0, null, '']);
    expect(readFileSync(counter, 'utf8')).toBe(JSON.parse(ran.stdout).counter);
    return JSON.parse(ran.stdout);
  }

  it('start, lock and end beside a main thread that locks, again and again, and the process lives', async () => {
    // Where the two threads come to different mechanisms they refuse rather than both hold.
    const { counter, problems } = await together({}, TIMES);
    expect(problems).toEqual(counter === String(30 * TIMES) ? [] : ['ERR_LOCK_MISMATCH']);
  });

  it('exclude the main thread with the lockfile', async () => {
    const times = rounds(2, 3);
    expect(await together({ mechanism: 'lockfile' }, times)).toEqual({ counter: String(30 * times), problems: [] });
  });
});

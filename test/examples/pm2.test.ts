import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hasParking } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { track } from '../support/programs.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();
const service = fileURLToPath(new URL('../../examples/pm2/service.mjs', import.meta.url));

describe.runIf(hasParking)('workers under a process manager', () => {
  it('one leads at a time; told to end it completes its piece, killed it hands over at once', async () => {
    const log: string[] = [];
    const env = { ...process.env, LEADER_LOCK: path(), PIECE_MS: '30' };
    const workers = Array.from({ length: 3 }, () =>
      track(spawn(process.execPath, [service], { env, stdio: ['ignore', 'pipe', 'inherit'] })),
    );
    for (const { stdout } of workers) createInterface(stdout).on('line', (line) => log.push(line));
    const leader = async (besides: unknown[]) => {
      const from = log.length;
      await until(() => log.slice(from).some((line) => !besides.some((pid) => line.startsWith(`${pid} `))));
      const line = log.slice(from).find((one) => !besides.some((pid) => one.startsWith(`${pid} `)));
      return workers.find(({ pid }) => line?.startsWith(`${pid} `));
    };
    const first = await leader([]);
    const ended = once(first as object as NodeJS.EventEmitter, 'exit');
    first?.kill('SIGINT');
    expect(await ended).toEqual([0, null]);
    const second = await leader([first?.pid]);
    second?.kill('SIGKILL');
    const third = await leader([first?.pid, second?.pid]);
    third?.kill('SIGTERM');
    await Promise.all(workers.map((worker) => worker.exitCode ?? worker.signalCode ?? once(worker, 'exit')));
    // Pieces never overlap, and but for that of the killed one each that was begun is done.
    const steps = log.map((line) => line.split(' '));
    for (const [i, [pid, , , , token]] of steps.entries()) {
      if (!log[i]?.includes('begins')) continue;
      const next = steps[i + 1];
      if (Number(pid) !== second?.pid) expect(next?.[0]).toBe(pid);
      expect(Number(token)).toBeGreaterThan(0);
    }
    const tokens = log.filter((line) => line.includes('begins')).map((line) => Number(line.split(' ').at(-1)));
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
  });
});

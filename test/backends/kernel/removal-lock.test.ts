import { fork } from 'node:child_process';
import { mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fileNameOf } from '../../../src/web-locks/file-names.js';
import { LockManager } from '../../../src/web-locks/index.js';
import { holdBytes, REMOVING } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { program, sleepsOf, track } from '../../support/programs.js';
import { isSoak } from '../../support/scale.js';
import { until } from '../../support/waiting.js';

const { path } = testFolder();

interface Told {
  granted?: object;
  lost?: boolean;
  done?: string;
  error?: string;
  message?: string;
}

/** A process that steals the lock 'n', where another one has begun to remove its file: returns when it waits for that. */
async function stealDuringRemoval(directory: string) {
  const stealer = track(fork(program('web-locker.mjs'), [directory], { execArgv: [] }));
  const told: Told[] = [];
  stealer.on('message', (message: Told) => told.push(message));
  await until(() => told.length > 0);
  mkdirSync(directory, { recursive: true });
  const endRemoval = holdBytes(join(directory, fileNameOf('n')), REMOVING);
  stealer.send({ request: { id: 0, name: 'n', options: { steal: true } } });
  await until(() => readdirSync(directory).some((name) => name.includes('steal-')) || told.length > 1);
  const before = sleepsOf(stealer.pid);
  await until(() => sleepsOf(stealer.pid) > before + 3 || told.length > 1);
  return { stealer, told, endRemoval };
}

describe.runIf(hasFcntl && process.platform === 'linux')('a steal while a process removes the file', () => {
  // That process may not run for a while between its look at the path and the unlink.
  it('waits for it: the file that it puts there is not the one that is unlinked', async () => {
    const directory = path();
    const { stealer, told, endRemoval } = await stealDuringRemoval(directory);
    unlinkSync(join(directory, fileNameOf('n')));
    endRemoval();
    await until(() => told.find(({ granted }) => granted));
    expect(await new LockManager(directory).request('n', { ifAvailable: true }, (lock) => lock)).toBe(null);
    stealer.send({ release: 0 });
    await until(() => told.find(({ done }) => done));
    expect(told.filter(({ lost }) => lost)).toEqual([]);
    await until(() => readdirSync(directory).length === 0);
  });

  it.runIf(isSoak)('is refused where that process is stopped, and nothing has changed', async () => {
    const directory = path();
    const { told, endRemoval } = await stealDuringRemoval(directory);
    const { message } = await until(() => told.find(({ error }) => error));
    expect(message).toMatch(/^EBUSY: .* rename '.*' \(for 5000 ms another process has been removing it/);
    expect(readdirSync(directory)).toEqual([fileNameOf('n')]);
    endRemoval();
  });
});

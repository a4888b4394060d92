import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { QUEUE_MAGIC, QUEUE_VERSION } from '../../../src/files/queue-header.js';
import { sidecarOf } from '../../../src/files/sibling-files.js';
import { InterProcessLock } from '../../../src/index.js';
import { holdBytes } from '../../support/byte-locks.js';
import { hasFcntl } from '../../support/capabilities.js';
import { testFolder } from '../../support/paths.js';
import { Actor, LineProgram, program } from '../../support/programs.js';
import { outcome, settle, until } from '../../support/waiting.js';

const { path } = testFolder();
/** The library as it was published as 0.2.0, with its binary. */
const previous = fileURLToPath(new URL('../../fixtures/fairlock-0.2.0/', import.meta.url));
const runsPrevious = hasFcntl && process.platform === 'linux' && process.arch === 'x64';

/** A sidecar as a process of another version of the protocol has left it. */
function sidecarOfVersion(version: number): { file: string; sidecar: string } {
  const file = path();
  const sidecar = sidecarOf(file);
  writeFileSync(sidecar, `${QUEUE_MAGIC}${version}`.padEnd(24, '\0'));
  return { file, sidecar };
}

describe.runIf(hasFcntl)('the version of the queue', () => {
  it('is the one that the C code writes', async () => {
    const file = path();
    // Only behind another ticket a number is written.
    const other = Actor.start();
    await other.call('create', 'InterProcessLock', file, { fairness: 'fifo' });
    await other.call('acquire');
    const [first, second] = [1, 2].map(() => new InterProcessLock(file, { fairness: 'fifo' }).acquire());
    await settle();
    await other.call('release');
    (await first)?.release();
    (await second)?.release();
    expect(readFileSync(sidecarOf(file), 'latin1').slice(0, 16)).toBe(`${QUEUE_MAGIC}${QUEUE_VERSION}`);
  });

  it('of a sidecar that no process uses is of no matter: it is made anew', async () => {
    const { file, sidecar } = sidecarOfVersion(1);
    (await new InterProcessLock(file, { fairness: 'fifo' }).acquire()).release();
    expect(readFileSync(sidecar, 'latin1')).not.toContain(`${QUEUE_MAGIC}1`);
  });

  it('of a sidecar in which processes queue is named in the error, with our own', async () => {
    const { file, sidecar } = sidecarOfVersion(1);
    const end = holdBytes(sidecar, { start: 4096, length: 1 });
    const refusal = new InterProcessLock(file, { fairness: 'fifo' }).acquire();
    await expect(refusal).rejects.toMatchObject({
      code: 'ERR_LOCK_MISMATCH',
      path: sidecar,
      message: expect.stringMatching(/protocol 1 .* protocol 2/),
    });
    // 'auto' goes on in the kernel's order.
    (await new InterProcessLock(file, { fairness: 'auto' }).acquire()).release();
    end();
  });

  it('of a file of another program is none: it is never written', async () => {
    const file = path();
    const fd = openSync(sidecarOf(file), 'w');
    writeSync(fd, 'a diary, of more than sixteen letters');
    closeSync(fd);
    (await new InterProcessLock(file, { fairness: 'fifo' }).acquire()).release();
    expect(readFileSync(sidecarOf(file), 'utf8')).toBe('a diary, of more than sixteen letters');
  });
});

describe.runIf(runsPrevious)('the previous version of the library (0.2.0) on the same path', () => {
  /** A process of it: `acquire NAME`, `release NAME`. */
  async function start(file: string, options: object): Promise<LineProgram> {
    const args = [program('previous-version.mjs'), previous, file, JSON.stringify(options)];
    const child = new LineProgram(process.execPath, ['--no-warnings', ...args]);
    expect(await child.line()).toBe('ready');
    return child;
  }

  for (const options of [
    { mechanism: 'flock' },
    { mechanism: 'fcntl' },
    { mechanism: 'lockfile' },
    { fairness: 'fifo' },
  ] as const) {
    it(`excludes and is excluded: ${JSON.stringify(options)}`, async () => {
      const file = path();
      const [other, lock] = [await start(file, options), new InterProcessLock(file, options)];
      const handle = await lock.acquire();
      expect(await other.ask('try')).toBe('held');
      handle.release();
      expect(await other.ask('try')).toBe('acquired');
      expect(lock.tryAcquire()).toBe(null);
      expect(await other.ask('release')).toBe('released');
      lock.tryAcquire()?.release();
    });
  }

  it('queues with ours in one order', async () => {
    const file = path();
    const other = await start(file, { fairness: 'fifo' });
    const [lock, later] = [1, 2].map(() => new InterProcessLock(file, { fairness: 'fifo' })) as [
      InterProcessLock,
      InterProcessLock,
    ];
    const handle = await lock.acquire();
    const theirs = outcome(other.ask('acquire'));
    await until(() => lock.inspect().waiters.length === 1);
    const ours = outcome(later.acquire());
    await settle();
    handle.release();
    await until(() => theirs.state === 'fulfilled');
    expect(ours.state).toBe('pending');
    await other.ask('release');
    await until(() => ours.state === 'fulfilled');
    ours.value?.release();
  });
});

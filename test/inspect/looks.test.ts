/** A look changes nothing of what it looks at. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { InterProcessLock, InterProcessReaderWriterLock, InterProcessSemaphore } from '../../src/index.js';
import { hasFcntl, hasFlock, hasStrace } from '../support/capabilities.js';
import { testFolder } from '../support/paths.js';
import { holdByFlock, run, runProgram } from '../support/programs.js';
import { needs } from '../support/tools.js';

const { path } = testFolder();
const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const fairlock = (...args: string[]) => run(process.execPath, [cli, ...args]);

/** Another program's empty file, and a name at which nothing is. */
function foreign(): { folder: string; file: string; missing: string; state(): unknown } {
  const folder = path();
  mkdirSync(folder);
  const file = join(folder, 'LOCK');
  writeFileSync(file, '');
  chmodSync(file, 0o640);
  const state = (): unknown => {
    const { mode, mtimeMs, ctimeMs } = statSync(file);
    return [mode, mtimeMs, ctimeMs, readdirSync(folder, { recursive: true })];
  };
  return { folder, file, missing: join(folder, 'none', 'LOCK'), state };
}

const looks: Record<string, (file: string) => unknown> = {
  'isLocked, flock': (file) => new InterProcessLock(file, { mechanism: 'flock' }).isLocked(),
  'isLocked, fcntl': (file) => hasFcntl && new InterProcessLock(file, { mechanism: 'fcntl' }).isLocked(),
  'isLocked, fifo': (file) => hasFcntl && new InterProcessLock(file, { fairness: 'fifo' }).isLocked(),
  'isLocked, lockfile': (file) => new InterProcessLock(file, { mechanism: 'lockfile' }).isLocked(),
  'isLocked, semaphore': (file) => hasFcntl && new InterProcessSemaphore(file, { permits: 2 }).isLocked(),
  inspect: (file) => new InterProcessReaderWriterLock(file).inspect(),
  'inspect, semaphore': (file) => hasFcntl && new InterProcessSemaphore(file, { permits: 2 }).inspect(),
  'fairlock locked': (file) => fairlock('locked', file),
  'fairlock status': (file) => fairlock('status', file),
  'fairlock trace --watch': (file) => fairlock('trace', '--out', path(), '--seconds', '0', '--watch', file),
};

describe.runIf(hasFlock && process.platform === 'linux')('a look', () => {
  for (const [name, look] of Object.entries(looks)) {
    it(`${name}: makes, marks and changes nothing`, async () => {
      const { file, missing, state } = foreign();
      const before = state();
      await look(file);
      await look(missing);
      expect(state()).toEqual(before);
    });
  }

  it('gc --dry-run: nothing of a marked file either', async () => {
    const { folder, file, state } = foreign();
    chmodSync(file, 0o1640);
    const before = state();
    expect((await fairlock('gc', '--dry-run', folder)).stdout).toBe(`would remove ${file}\n`);
    expect(state()).toEqual(before);
  });

  it.runIf(hasFcntl)('isLocked does not drop the POSIX locks of this process, as to close the file would', async () => {
    needs('python3');
    const file = path();
    writeFileSync(file, 'a database');
    const { stdout, stderr } = await runProgram('posix-locks.mjs', [file]);
    expect([stderr, stdout]).toEqual(['', 'true\nfcntl true\nflock false\nsemaphore true\ntrue\n']);
  });

  it('status reads the list of all locks once, however many files there are', async () => {
    if (!hasStrace) return;
    const folder = path();
    mkdirSync(folder);
    for (let i = 0; i < 20; i++) writeFileSync(join(folder, `lock-${i}`), '');
    const holders = await Promise.all(Array.from({ length: 5 }, (_, i) => holdByFlock(join(folder, `lock-${i}`))));
    const trace = path();
    const args = ['-f', '-e', 'trace=openat,open', '-o', trace, process.execPath, cli, 'status', folder];
    expect(spawnSync('strace', args, { encoding: 'utf8' }).stdout.match(/holds/g)).toHaveLength(5);
    const opens = spawnSync('grep', ['-c', '"/proc/locks"', trace], { encoding: 'utf8' }).stdout;
    expect(opens).toBe('1\n');
    await Promise.all(holders.map(({ letGo }) => letGo()));
  });

  it('locked: 0 where a lock folder beside the file holds it, as documented', async () => {
    const file = path();
    writeFileSync(file, '{}');
    const handle = await new InterProcessLock(file, { mechanism: 'lockfile' }).acquire();
    expect(await fairlock('locked', file)).toMatchObject({ code: 0, stdout: 'locked\n', stderr: '' });
    expect(new InterProcessLock(file, { dataFile: true }).isLocked()).toBe(true);
    handle.release();
    expect(await fairlock('locked', file)).toMatchObject({ code: 1, stdout: 'free\n' });
  });

  it('below a file that is no folder: ENOTDIR, from every mechanism and on every Node', async () => {
    const file = path();
    writeFileSync(file, '');
    for (const mechanism of ['flock', 'fcntl', 'lockfile'] as const) {
      if (mechanism === 'fcntl' && !hasFcntl) continue;
      const lock = new InterProcessLock(join(file, 'below'), { mechanism });
      expect(() => lock.isLocked()).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
    }
    expect(await fairlock('locked', join(file, 'below'))).toMatchObject({ code: 66, stdout: '' });
    expect(await fairlock('status', join(file, 'below'))).toMatchObject({ code: 66 });
  });
});

/** The table of SECURITY.md: what another user of the machine can and cannot do, by the rights that it has. */
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { LeaderElection, runOnce } from '../src/cluster/index.js';
import { REMOVAL_BYTE } from '../src/files/byte-layout.js';
import { siblingPath, sidecarOf } from '../src/files/sibling-files.js';
import { InterProcessLock, InterProcessReaderWriterLock } from '../src/index.js';
import { hasFcntl, hasFlock, isRoot } from './support/capabilities.js';
import { testFolder } from './support/paths.js';
import { LineProgram, run } from './support/programs.js';

const { path } = testFolder();
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const OTHER = 65534;
const F_OFD_SETLK = 37;

/** A lock file that another user may read, or write, in a folder that it may not write. */
function lockFile(mode: number): string {
  const folder = path();
  mkdirSync(folder, { mode: 0o755 });
  chmodSync(folder, 0o755);
  const file = join(folder, 'lock');
  writeFileSync(file, '');
  chmodSync(file, 0o1000 | mode);
  return file;
}

/** Another user's process, which does that and says `done` or the error, then stays. */
async function otherUser(python: string): Promise<string> {
  const script = `import fcntl, os, struct, sys
def ofd(fd, kind, start, length): fcntl.fcntl(fd, ${F_OFD_SETLK}, struct.pack('hhqqi4x', kind, 0, start, length, 0))
os.setgid(${OTHER}); os.setuid(${OTHER})
try:
  ${python.split('\n').join('\n  ')}
  print('done', flush=True)
except OSError as error: print(os.strerror(error.errno), flush=True)
sys.stdin.read()`;
  return new LineProgram('python3', ['-c', script]).line();
}

describe.runIf(isRoot && hasFcntl && process.platform === 'linux')('another user', () => {
  it('that may read the lock file can hold it exclusively by flock, and for reading by fcntl', async () => {
    const file = lockFile(0o644);
    expect(await otherUser(`fd = os.open('${file}', os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX)`)).toBe('done');
    expect(new InterProcessReaderWriterLock(file).tryAcquireRead()).toBe(null);
    const bytes = lockFile(0o644);
    expect(await otherUser(`fd = os.open('${bytes}', os.O_RDONLY); ofd(fd, fcntl.F_WRLCK, 0, 0)`)).not.toBe('done');
    expect(await otherUser(`fd = os.open('${bytes}', os.O_RDONLY); ofd(fd, fcntl.F_RDLCK, 0, 0)`)).toBe('done');
    const lock = new InterProcessReaderWriterLock(bytes, { mechanism: 'fcntl' });
    expect([lock.tryAcquireWrite(), lock.tryAcquireRead()?.shared]).toEqual([null, true]);
  });

  it('that may read the lock file cannot block a thread: not by the byte of a question, nor of a removal', async () => {
    const file = lockFile(0o644);
    const bytes = `fd = os.open('${file}', os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_EX)
for byte in (${REMOVAL_BYTE}, ${REMOVAL_BYTE + 1}): ofd(fd, fcntl.F_RDLCK, byte, 1)`;
    expect(await otherUser(bytes)).toBe('done');
    // Each answers while the other user goes on: one that waited for it would end by the limit of this test.
    expect(new InterProcessLock(file).tryAcquire()).toBe(null);
    expect(new InterProcessLock(file).isLocked()).toBe(true);
  });

  it('that may write the lock file can hold it in every way', async () => {
    const file = lockFile(0o666);
    expect(await otherUser(`fd = os.open('${file}', os.O_RDWR); ofd(fd, fcntl.F_WRLCK, 0, 0)`)).toBe('done');
    expect(new InterProcessLock(file, { mechanism: 'fcntl' }).tryAcquire()).toBe(null);
  });

  it('that may not read the lock file can do nothing to it', async () => {
    const file = lockFile(0o600);
    expect(await otherUser(`os.open('${file}', os.O_RDONLY)`)).toBe('Permission denied');
    expect(await otherUser(`os.unlink('${file}')`)).toBe('Permission denied');
  });

  it('that may read the sidecar can refuse requests of fifo, not those of others', async () => {
    const file = lockFile(0o644);
    writeFileSync(sidecarOf(file), '');
    chmodSync(sidecarOf(file), 0o1644);
    expect(await otherUser(`fd = os.open('${sidecarOf(file)}', os.O_RDONLY); ofd(fd, fcntl.F_RDLCK, 4096, 0)`)).toBe(
      'done',
    );
    new InterProcessLock(file).tryAcquire()?.release();
    (await new InterProcessLock(file, { fairness: 'auto' }).acquire()).release();
  });

  it('that may write to the folder can take the lock file away: the holder is told', async () => {
    const file = lockFile(0o600);
    chmodSync(join(file, '..'), 0o777);
    const handle = await new InterProcessLock(file).acquire();
    const lost = new Promise((resolve) => handle.signal.addEventListener('abort', () => resolve(handle.signal.reason)));
    expect(await otherUser(`os.unlink('${file}')`)).toBe('done');
    expect(await lost).toMatchObject({ code: 'ERR_LOCK_LOST' });
    handle.release();
  });
});

describe('what is told of other processes', () => {
  it.runIf(hasFlock)(
    'errors, onWait and records name programs without their arguments, which may be passwords',
    async () => {
      const file = path();
      const script = `
      import { InterProcessLock } from 'fairlock';
      import { LeaderElection } from 'fairlock/cluster';
      await new InterProcessLock(${JSON.stringify(file)}).acquire();
      new LeaderElection(${JSON.stringify(`${file}-leader`)}).run(() => { console.log('leads'); return new Promise(() => {}); });
      setInterval(() => {}, 1000);`;
      const holder = new LineProgram(process.execPath, ['--input-type=module', '-e', script, 'x', '--password=secret']);
      expect(await holder.line()).toBe('leads');
      let told: unknown;
      const lock = new InterProcessLock(file);
      const error = await lock
        .acquire({ timeout: 1000, waitNotice: 0, onWait: (info) => (told = info) })
        .catch((reason) => reason);
      expect(error.code).toBe('ERR_LOCK_TIMEOUT');
      const record = readFileSync(siblingPath(`${file}-leader`, 'leader'), 'utf8');
      for (const text of [error.message, JSON.stringify(error), JSON.stringify(told), record]) {
        expect(text).not.toContain('secret');
        expect(text).toContain('node');
      }
      // Those who look at the process itself see what ps shows.
      expect(JSON.stringify(lock.inspect())).toContain('secret');
    },
  );

  it('records are as open as their lock file', async () => {
    const file = path();
    await new LeaderElection(file, { mode: 0o600 }).run(() => {});
    await runOnce(file, () => 1, { key: 'k', mode: 0o600 });
    for (const what of ['leader', 'once'] as const)
      expect((statSync(siblingPath(file, what)).mode & 0o777).toString(8)).toBe('600');
  });

  it('names of files reach the terminal without control characters', async () => {
    const folder = path();
    mkdirSync(folder);
    const [hostile, c1] = ['a\u001b]0;pw\u0007\u001b[31m\n', 'c\u009b31m'];
    writeFileSync(join(folder, hostile), '');
    chmodSync(join(folder, hostile), 0o1644);
    writeFileSync(join(folder, c1), '');
    const holder = await new InterProcessLock(join(folder, c1)).acquire();
    const outputs = await Promise.all(
      [
        ['gc', '--dry-run', folder],
        ['status', folder],
        ['status', '--json', folder],
        ['gc', folder],
        ['run', join(folder, 'x'), '--', join(folder, hostile)],
        ['run', '-n', join(folder, hostile, 'below'), '--', 'true'],
        ['locked', join(folder, hostile, 'below\u0000'.slice(0, 5))],
        ['gc', join(folder, hostile)],
      ].map((args) => run(process.execPath, [cli, ...args])),
    );
    for (const { stdout, stderr } of outputs) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
      expect(`${stdout}${stderr}`).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    }
    expect(JSON.parse(outputs[2]?.stdout ?? '')[0].path).toBe(join(folder, c1));
    holder.release();
  });
});

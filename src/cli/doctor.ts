/**
 * `fairlock doctor`: which layers load, and what the file system of a folder really does. Some file systems report
 * success without excluding any process, so locks are tried out between two processes.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InterProcessLock, type LockHandle, layers } from '../index.js';
import { closeCachedFiles, libc, MARK, read } from '../inspect/index.js';
import { printable } from '../printable.js';
import { CliError, FAILURE, NO_INPUT } from './exit-codes.js';
import { printJson, printLines } from './output.js';
import { reasonOf } from './reasons.js';

/** A waiter that is not woken after this many ms is not waiting for this lock. */
const PATIENCE_MS = 5000;

type Mechanism = 'flock' | 'fcntl';

interface Finding {
  what: string;
  ok: boolean;
  /** Not needed. */
  optional?: boolean;
  detail: string;
  advice?: string | undefined;
}

/** What is worth knowing of a file system, by its name in mountinfo. */
const FILE_SYSTEMS: [RegExp, string][] = [
  [
    /^nfs/,
    'locks go to the server: it needs its lock service (or NFS 4), and handover takes seconds where a ' +
      'client is cut off',
  ],
  [/^(cifs|smb)/, 'locks go to the server, and may be mandatory there'],
  [/^9p$/, 'shared from a host: locks may end at this guest, where programs on the host do not see them'],
  [
    /^(virtiofs|fuse\.(virtiofs|osxfs|grpcfuse|gcsfuse|sshfs|s3fs|rclone)|vboxsf|prl_fs)/,
    'locks may end at this machine, or exclude no process at all: the trial below tells',
  ],
  [/^fuse/, 'locks are as good as the program behind it: the trial below tells'],
  [
    /^overlay$/,
    'fine within one container; another container that mounts the same lower folder has files ' + 'of its own',
  ],
  [/^(tmpfs|ramfs|devtmpfs)$/, 'fine; gone after a reboot'],
];

export async function doctor(folder: string, { version, json }: { version: string; json: boolean }): Promise<number> {
  const trial = makeTrialFolder(folder);
  try {
    const findings: Finding[] = [...layerFindings(), fileSystemFinding(folder), markFinding(trial)];
    for (const mechanism of ['flock', 'fcntl'] as const) findings.push(await tryOut(mechanism, join(trial, mechanism)));
    const problems = findings.filter(({ ok, optional = false }) => !ok && !optional);
    const summary =
      problems.length === 0
        ? 'all is well: locks work here'
        : `${problems.length} of ${findings.length} are not well: ${problems.map(({ what }) => what).join(', ')}`;
    const report = { ...surroundings(version), folder, ok: problems.length === 0, summary, findings };
    if (json) printJson(report);
    else printLines(asText(report));
    return report.ok ? 0 : FAILURE;
  } finally {
    closeCachedFiles(); // Some file systems (FUSE) keep a removed file that is open under another name.
    rmSync(trial, { recursive: true, force: true });
  }
}

function surroundings(version: string) {
  return { fairlock: version, node: process.version, platform: `${process.platform} ${process.arch}`, libc: libc() };
}

type Report = ReturnType<typeof surroundings> & { summary: string; findings: readonly Finding[] };

function asText({ fairlock, node, platform, libc, summary, findings }: Report): string {
  const lines = [
    `fairlock ${fairlock}, Node ${node}, ${[platform, libc].filter((one) => one !== undefined).join(', ')}`,
  ];
  for (const { what, ok, optional = false, detail, advice } of findings) {
    lines.push(`${ok ? '✓' : optional ? '-' : '✗'} ${what}: ${printable(detail)}`);
    if (advice !== undefined) lines.push(`  → ${advice}`);
  }
  return `${[...lines, printable(summary)].join('\n')}\n`;
}

/** The other process: tries or waits for what it is told, and says what came of it. */
export function probe(mechanism: string, path: string): void {
  const lock = new InterProcessLock(path, { mechanism: mechanism as Mechanism });
  process.on('message', (what) => {
    if (what === 'try') process.send?.(lock.tryAcquire() === null ? 'excluded' : 'granted');
    else lock.acquire().then(() => process.send?.('granted'));
  });
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}

function makeTrialFolder(folder: string): string {
  try {
    return mkdtempSync(join(folder, '.fairlock-doctor-'));
  } catch (error) {
    throw new CliError(`cannot try locks out in ${folder}: ${reasonOf(error)}`, NO_INPUT);
  }
}

function layerFindings(): Finding[] {
  const isAddonThere = layers()['native-fallback'].loaded;
  const needed = {
    'fs-ext': isAddonThere ? undefined : 'npm install fs-ext: it is compiled on this machine',
    'native-fallback':
      'without it waits are polled, and fcntl locks, strict order, semaphores and gc are not available. ' +
      'There is a binary for some platforms only: see docs/mechanisms.md',
  };
  return (['fs-ext', 'native-fallback'] as const).map((what) => {
    const { loaded, reason = '' } = layers()[what];
    if (loaded) return { what, ok: true, detail: 'loads' };
    // Not an application's fault, and nothing to do, where the addon does its part.
    if (what === 'fs-ext' && isAddonThere && reason.includes(`Cannot find module '${what}'`))
      return { what, ok: false, optional: true, detail: 'optional, not installed' };
    const detail = `does not load: ${reason.split('\n')[0]}`;
    const advice = reason.includes('FAIRLOCK_DISABLE') ? 'unset FAIRLOCK_DISABLE, to have it' : needed[what];
    return { what, ok: false, optional: what === 'fs-ext', detail, advice };
  });
}

function fileSystemFinding(folder: string): Finding {
  const name = fileSystemOf(realpathSync(folder));
  const advice = FILE_SYSTEMS.find(([pattern]) => pattern.test(name))?.[1];
  return { what: 'file system', ok: true, detail: name, advice };
}

/** Of the mount whose point is the longest that the path begins with; the last one covers those before it. */
function fileSystemOf(path: string): string {
  let found = { length: 0, name: 'unknown' };
  for (const line of read('/proc/self/mountinfo').split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const point = (left.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const covers = point !== '' && (path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`));
    if (covers && point.length >= found.length)
      found = { length: point.length, name: right.split(' ')[0] ?? 'unknown' };
  }
  return found.name;
}

/** Without the mark, processes with and without native layers do not see each other. */
function markFinding(trial: string): Finding {
  const path = join(trial, 'mark');
  const what = 'mark';
  try {
    new InterProcessLock(path, { mechanism: 'flock' }).tryAcquire()?.release();
    if ((statSync(path).mode & MARK) !== 0)
      return { what, ok: true, detail: 'kept: processes that cannot lock natively are told' };
    const advice =
      'let all programs on a path use one mechanism: one that falls back to the lockfile is not noticed here';
    return { what, ok: false, detail: 'the sticky bit of a file is not kept', advice };
  } catch (error) {
    return { what, ok: false, detail: (error as Error).message };
  }
}

async function tryOut(what: Mechanism, path: string): Promise<Finding> {
  const finding = (ok: boolean, detail: string, advice?: string): Finding => ({ what, ok, detail, advice });
  const elsewhere = 'use a local folder for lock files, or a service made for it (a database, etcd) between machines';
  let handle: LockHandle | null;
  try {
    handle = new InterProcessLock(path, { mechanism: what }).tryAcquire();
  } catch (error) {
    return finding(
      false,
      (error as Error).message,
      what === 'fcntl' ? "use mechanism 'flock', if that one works" : elsewhere,
    );
  }
  if (handle === null) return finding(false, 'refused, though no process holds it', elsewhere);
  const other = fork(process.argv[1] as string, ['probe', what, path]);
  try {
    const answers = async (): Promise<unknown> =>
      (await once(other, 'message', { signal: AbortSignal.timeout(PATIENCE_MS) }))[0];
    await answers();
    other.send('try');
    if ((await answers()) === 'granted')
      return finding(false, 'reports success and excludes no process: two hold it', elsewhere);
    other.send('wait');
    handle.release();
    await answers().catch(() =>
      Promise.reject(new Error('a process that waits is not woken when the lock is released')),
    );
    return finding(true, 'excludes other processes, and wakes waiters');
  } catch (error) {
    return finding(false, (error as Error).message, elsewhere);
  } finally {
    handle.release();
    other.kill();
  }
}

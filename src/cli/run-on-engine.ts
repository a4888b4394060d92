/** `fairlock run --etcd URL NAME -- COMMAND`, and `--postgres URL`: a lock between machines. */
import { codeOf, messageOf } from '../errors.js';
import type { AcquireOptions, LockHandle } from '../index.js';
import { runCommand } from './child.js';
import { CliError, OS_ERROR, UNAVAILABLE, USAGE } from './exit-codes.js';
import { say } from './output.js';
import type { RunOptions } from './run.js';
import { commandOf } from './run.js';
import { surroundings } from './surroundings.js';

/** What `EtcdLocks` and `PostgresLocks` have in common. */
interface Locks {
  lock(name: string): { acquire(options: AcquireOptions): Promise<LockHandle> };
  readerWriterLock(name: string): { acquireRead(options: AcquireOptions): Promise<LockHandle> };
  semaphore(name: string, options: { permits: number }): { acquire(options: AcquireOptions): Promise<LockHandle> };
  close(): Promise<void>;
}

export type EngineChoice = { etcd: string } | { postgres: string };

export async function runOnEngine(
  engine: EngineChoice,
  name: string,
  words: readonly string[],
  options: RunOptions,
): Promise<number> {
  const around = surroundings();
  const command = commandOf(words);
  if (!options.fork || options.fair || options.mechanism !== 'auto') {
    throw new CliError('--no-fork, --fair and --mechanism are for files, not for --etcd and --postgres', USAGE);
  }
  const locks = await locksOf(engine);
  try {
    const handle = await acquire(locks, name, options);
    if (handle === undefined) return options.conflictExitCode;
    // The command cannot inherit such a lock: if it is lost, the command is told to end.
    handle.signal.addEventListener('abort', () => {
      say(messageOf(handle.signal.reason));
      process.kill(process.pid, 'SIGTERM');
    });
    const code = await runCommand({ ...command, surroundings: around }, () => UNAVAILABLE);
    await handle.release();
    return code;
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(messageOf(error), OS_ERROR);
  } finally {
    await locks.close();
  }
}

async function acquire(locks: Locks, name: string, options: RunOptions): Promise<LockHandle | undefined> {
  const { permits, shared, nonblock, wait, verbose } = options;
  const began = performance.now();
  const how: AcquireOptions = { timeout: nonblock ? 0 : (wait ?? Infinity) * 1000 };
  if (verbose) how.onWait = ({ holders }) => say(`waiting for ${name}; held by ${describe(holders)}`);
  try {
    const handle =
      permits !== undefined
        ? await locks.semaphore(name, { permits }).acquire(how)
        : shared
          ? await locks.readerWriterLock(name).acquireRead(how)
          : await locks.lock(name).acquire(how);
    if (verbose) say(`getting lock took ${((performance.now() - began) / 1000).toFixed(6)} seconds`);
    return handle;
  } catch (error) {
    if (codeOf(error) !== 'ERR_LOCK_TIMEOUT') throw error;
    if (verbose) say(messageOf(error));
    return undefined;
  }
}

function describe(holders: readonly { pid: number; host?: string }[]): string {
  return holders.map(({ pid, host = '?' }) => `pid ${pid} on ${host}`).join(', ') || 'a process that is not shown';
}

/** By a path that this file's bundle does not include: the packages of the engines are the application's. */
async function locksOf(engine: EngineChoice): Promise<Locks> {
  const isEtcd = 'etcd' in engine;
  const module = new URL(`../${isEtcd ? 'etcd' : 'postgres'}/index.js`, import.meta.url).href;
  try {
    const loaded = (await import(module)) as Record<string, new (options: object) => Locks>;
    if (isEtcd) return new (loaded.EtcdLocks as new (o: object) => Locks)({ endpoints: engine.etcd.split(',') });
    return new (loaded.PostgresLocks as new (o: object) => Locks)({ connectionString: engine.postgres });
  } catch (error) {
    throw new CliError(messageOf(error), UNAVAILABLE);
  }
}

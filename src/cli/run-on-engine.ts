/** `fairlock run --etcd URL NAME -- COMMAND`, `--postgres URL`, `--redis URL`: a lock between machines. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { codeOf, messageOf } from '../errors.js';
import type { AcquireOptions, LockHandle, LockParty } from '../index.js';
import { cut, printable } from '../printable.js';
import { runCommand } from './child.js';
import { CliError, isForUser, NO_INPUT, OS_ERROR, UNAVAILABLE, USAGE } from './exit-codes.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import type { EngineChoice, Run, RunOptions } from './run-call.js';
import { announceWait } from './wait-notice.js';

/** Before the notice is first shown, so that it names the holder. */
const LOOK_AFTER_MS = 800;

interface OneLock {
  tryAcquire(): Promise<LockHandle | null>;
  acquire(options: AcquireOptions): Promise<LockHandle>;
}

/** What the classes of all engines have in common. */
interface Locks {
  lock(name: string): OneLock;
  readerWriterLock(name: string): {
    tryAcquireRead(): Promise<LockHandle | null>;
    acquireRead(options: AcquireOptions): Promise<LockHandle>;
  };
  semaphore(name: string, options: { permits: number }): OneLock;
  close(): Promise<void>;
}

export async function runOnEngine(engine: EngineChoice, run: Run): Promise<number> {
  const { options, around, signals } = run;
  const command = run.command.text();
  if (!options.fork || options.fair || options.mechanism !== 'auto') {
    const why = '--no-fork, --fair and --mechanism are for files, not for --etcd, --postgres and --redis';
    throw new CliError(why, USAGE);
  }
  const locks = await locksOf(engine);
  try {
    const handle = await acquire(locks, run);
    if (handle === undefined) return options.conflictExitCode;
    // The command cannot inherit such a lock: if it is lost, the command is told to end.
    handle.signal.addEventListener('abort', () => {
      say(messageOf(handle.signal.reason));
      process.kill(process.pid, 'SIGTERM');
    });
    const code = await runCommand({ ...command, surroundings: around, signals }, () => UNAVAILABLE);
    await handle.release();
    return code;
  } catch (error) {
    if (isForUser(error)) throw error;
    throw new CliError(messageOf(error), OS_ERROR);
  } finally {
    await locks.close();
  }
}

/** Undefined: another process has it, for too long. @throws the service does not say so: it does not answer */
async function acquire(locks: Locks, { file: name, options, signals }: Run): Promise<LockHandle | undefined> {
  const { wait, verbose } = options;
  const began = performance.now();
  const nonblock = options.nonblock || wait === 0;
  const lock = lockOf(locks, name, options);
  const why = nonblock ? undefined : watchForReasons();
  const endNotice = why === undefined ? () => {} : announceWait(name, why.text, verbose, signals);
  try {
    const timeout = (wait ?? Infinity) * 1000;
    const handle = why === undefined ? await lock.tryAcquire() : await lock.acquire({ timeout, ...why.options });
    endNotice();
    if (handle === null) {
      if (verbose) say('failed to get lock');
      return undefined;
    }
    if (verbose) say(`getting lock took ${((performance.now() - began) / 1000).toFixed(6)} seconds`);
    return handle;
  } catch (error) {
    endNotice();
    if (codeOf(error) !== 'ERR_LOCK_TIMEOUT' || (error as Error).cause !== undefined) throw error;
    if (verbose) say(messageOf(error));
    return undefined;
  } finally {
    why?.end();
  }
}

function lockOf(locks: Locks, name: string, { permits, shared }: RunOptions): OneLock {
  if (permits !== undefined) return locks.semaphore(name, { permits });
  if (!shared) return locks.lock(name);
  const lock = locks.readerWriterLock(name);
  return { tryAcquire: () => lock.tryAcquireRead(), acquire: (how) => lock.acquireRead(how) };
}

/** Keeps what is last known of why it waits: the holders, or what is wrong with the service. */
function watchForReasons(): { options: AcquireOptions; text(width: number): string; end(): void } {
  let holders: readonly LockParty[] = [];
  let trouble: unknown;
  const onOutage = (message: unknown): void => {
    trouble = (message as { error: unknown }).error;
  };
  subscribe('fairlock:outage', onOutage);
  return {
    options: {
      waitNotice: LOOK_AFTER_MS,
      onWait: (info) => {
        ({ holders } = info);
      },
    },
    text: (width) => {
      if (trouble !== undefined) return ` — ${cut(printable(messageOf(trouble)), Math.max(10, width - 3))}`;
      const [first] = holders;
      if (first === undefined) return '';
      const others = holders.length > 1 ? ` and ${holders.length - 1} more` : '';
      return ` — held by pid ${first.pid} on ${printable(first.host ?? '?')}${others}`;
    },
    end: () => unsubscribe('fairlock:outage', onOutage),
  };
}

const CLASSES = { etcd: 'EtcdLocks', postgres: 'PostgresLocks', redis: 'RedisLocks' } as const;

/** By a path that this file's bundle does not include: the packages of the engines are the application's. */
async function locksOf(engine: EngineChoice): Promise<Locks> {
  const options = { etcd: etcdOptions, postgres: postgresOptions, redis: redisOptions }[engine.kind](engine.url);
  const module = new URL(`../${engine.kind}/index.js`, import.meta.url).href;
  try {
    const loaded = (await import(module)) as Record<string, new (options: object) => Locks>;
    return new (loaded[CLASSES[engine.kind]] as new (o: object) => Locks)(options);
  } catch (error) {
    throw new CliError(messageOf(error), error instanceof TypeError ? USAGE : UNAVAILABLE);
  }
}

/** What etcdctl takes from the environment. */
function etcdOptions(urls: string): object {
  const { ETCDCTL_USER: user, ETCDCTL_PASSWORD, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY } = process.env;
  const files = { ca: ETCDCTL_CACERT, cert: ETCDCTL_CERT, key: ETCDCTL_KEY };
  const tls = read(files);
  const colon = user?.indexOf(':') ?? -1;
  const [username, password] =
    ETCDCTL_PASSWORD !== undefined || user === undefined || colon < 0
      ? [user, ETCDCTL_PASSWORD]
      : [user.slice(0, colon), user.slice(colon + 1)];
  return { endpoints: urls.split(','), username, password, ...(tls !== undefined && { tls }) };
}

/** The password as redis-cli takes it from the environment. */
function redisOptions(url: string): object {
  const { REDISCLI_AUTH } = process.env;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || REDISCLI_AUTH === undefined || parsed.password !== '') return { url };
  parsed.password = REDISCLI_AUTH;
  return { url: parsed.href };
}

/** pg reads most of libpq's variables by itself, but for the files of TLS. */
function postgresOptions(url: string): object {
  const { PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY } = process.env;
  const ssl = read({ ca: PGSSLROOTCERT, cert: PGSSLCERT, key: PGSSLKEY });
  if (ssl === undefined || PGSSLMODE === 'disable' || PGSSLMODE === 'no-verify') return { connectionString: url };
  return { config: { connectionString: url, ssl } };
}

function read(files: Record<string, string | undefined>): Record<string, Buffer> | undefined {
  const given = Object.entries(files).filter((one): one is [string, string] => !!one[1]);
  if (given.length === 0) return undefined;
  return Object.fromEntries(
    given.map(([what, file]) => {
      try {
        return [what, readFileSync(file)];
      } catch (error) {
        throw new CliError(`cannot open ${file}: ${reasonOf(error)}`, NO_INPUT);
      }
    }),
  );
}

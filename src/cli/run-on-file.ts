/** `fairlock run` on a file, where that takes more than a first try: it waits, or a process stays beside the command. */
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { codeOf, messageOf } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  LockError,
  type LockHandle,
} from '../index.js';
import { become, whyBeside } from './become.js';
import { runCommand } from './child.js';
import { CANNOT_CREATE, CliError, NO_INPUT, OS_ERROR, UNAVAILABLE, USAGE } from './exit-codes.js';
import { heldBy } from './held-by.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import { type Run, type RunOptions, sayTaken } from './run-call.js';
import { announceWait } from './wait-notice.js';

/** The command's exit code, if it does not become the command. */
export async function runOnFile(run: Run): Promise<number> {
  const { options, command, around, signals } = run;
  const handle = await acquire(run);
  if (handle === undefined) return options.conflictExitCode;
  const why = whyBeside(handle.fd, options);
  if (why === undefined && handle.fd !== undefined) return become(handle.fd, run);
  if (!options.fork) {
    throw new CliError(`--no-fork needs the addon native-fallback and a lock of the kernel: ${why}`, UNAVAILABLE);
  }
  const fd = options.close ? undefined : handle.fd;
  const code = await runCommand({ ...command.text(), fd, surroundings: around, signals }, () => UNAVAILABLE);
  // As with flock(1), what the command left running in the background keeps a kernel's lock that it inherited: so it is
  // not released here, it goes with this process. A lock folder, which no command inherits, is removed.
  if (handle.fd === undefined || options.close) handle.release();
  return code;
}

/** Undefined: another process has it, for too long. */
async function acquire(run: Run): Promise<LockHandle | undefined> {
  const { file, options, signals } = run;
  const began = performance.now();
  // As in flock(1), `-w 0` does not wait.
  const nonblock = options.nonblock || options.wait === 0;
  const endNotice = nonblock ? () => {} : announceWait(file, (width) => heldBy(file, width), options.verbose, signals);
  try {
    // A mistyped path shall not make folders.
    statSync(dirname(resolve(file)));
    const timeout = nonblock ? 0 : (options.wait ?? Infinity) * 1000;
    const handle = await acquireOf(file, options)({ timeout });
    endNotice();
    sayTaken(run, performance.now() - began);
    return handle;
  } catch (error) {
    endNotice();
    if (codeOf(error) !== 'ERR_LOCK_TIMEOUT') throw explained(file, error);
    if (options.verbose) say(`${nonblock ? 'failed to get lock' : 'timeout while waiting to get lock'}${heldBy(file)}`);
    return undefined;
  }
}

function acquireOf(
  path: string,
  { permits, mechanism, fair, shared }: RunOptions,
): (options: AcquireOptions) => Promise<LockHandle> {
  const fairness = fair ? 'fifo' : 'kernel';
  if (permits !== undefined) {
    const semaphore = new InterProcessSemaphore(path, { permits, fairness, followSymlinks: true });
    return (options) => semaphore.acquire(options);
  }
  // flock(1) locks what it is given: the script itself, or a file of data.
  const lock = new InterProcessReaderWriterLock(path, { mechanism, fairness, followSymlinks: true, dataFile: true });
  return (options) => (shared ? lock.acquireRead(options) : lock.acquireWrite(options));
}

function explained(path: string, error: unknown): CliError {
  const code = codeOf(error) ?? '';
  if (error instanceof LockError) return new CliError(error.message, OS_ERROR);
  if (error instanceof TypeError || error instanceof RangeError)
    return new CliError(messageOf(error), path === '' ? NO_INPUT : USAGE);
  const exitCode = ['ENOMEM', 'EMFILE', 'ENFILE'].includes(code)
    ? OS_ERROR
    : ['EROFS', 'ENOSPC'].includes(code)
      ? CANNOT_CREATE
      : NO_INPUT;
  // It may be another file than the lock's whose making failed: the sidecar of --fair, a folder.
  const { path: opened, syscall } = error as NodeJS.ErrnoException;
  const isLockFile = syscall !== 'open' || opened === undefined || resolve(opened) === resolve(path);
  return new CliError(`cannot open ${isLockFile ? `lock file ${path}` : opened}: ${reasonOf(error)}`, exitCode);
}

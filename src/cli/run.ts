/** `fairlock run`: flock(1), and more. */
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { codeOf, messageOf } from '../errors.js';
import {
  type AcquireOptions,
  InterProcessReaderWriterLock,
  InterProcessSemaphore,
  LockError,
  type LockHandle,
  type MechanismName,
} from '../index.js';
import { isChanged, lastArguments, wordsOfCommand } from './arguments.js';
import { become, whyBeside } from './become.js';
import { CANNOT_CREATE, CliError, NO_INPUT, OS_ERROR, UNAVAILABLE, USAGE } from './exit-codes.js';
import { say } from './output.js';
import { reasonOf } from './reasons.js';
import { Signals } from './signals.js';
import { surroundings } from './surroundings.js';
import { leaveTerminalAsItIs } from './terminal.js';
import { announceWait } from './wait-notice.js';

export interface RunOptions {
  shared: boolean;
  nonblock: boolean;
  /** Seconds. */
  wait: number | undefined;
  conflictExitCode: number;
  close: boolean;
  fork: boolean;
  verbose: boolean;
  fair: boolean;
  mechanism: 'auto' | MechanismName;
  permits: number | undefined;
}

export async function run(file: string, words: readonly string[], options: RunOptions): Promise<number> {
  const around = surroundings(); // Before anything else is opened.
  const signals = new Signals(around.ignored);
  leaveTerminalAsItIs();
  const command = checkedCommand(words, options);
  if (options.permits !== undefined && options.mechanism !== 'auto') {
    throw new CliError('the --permits and --mechanism options are incompatible', USAGE);
  }
  if (isChanged(file, words.length + 1))
    throw new CliError('the name of the lock file is not UTF-8, and Node cannot open it', USAGE);
  const handle = await acquire(file, options, signals);
  if (handle === undefined) return options.conflictExitCode;
  if (options.verbose) say(`executing ${command.file}`);
  const why = whyBeside(handle, options);
  if (why === undefined) return become(command.bytes(), handle, around, signals);
  if (!options.fork) {
    throw new CliError(`--no-fork needs the addon native-fallback and a lock of the kernel: ${why}`, UNAVAILABLE);
  }
  const { runCommand } = await import('./child.js');
  const fd = options.close ? undefined : handle.fd;
  const code = await runCommand({ ...command.text(), fd, surroundings: around, signals }, () => UNAVAILABLE);
  // As with flock(1), what the command left running in the background keeps a kernel's lock that it inherited: so it is
  // not released here, it goes with this process. A lock folder, which no command inherits, is removed.
  if (handle.fd === undefined || options.close) handle.release();
  return code;
}

/** A command's words as Node has them, and as the kernel has them. */
export interface CommandWords {
  file: string;
  /** @throws {CliError} Node has changed one of them */
  text(): { file: string; args: string[] };
  bytes(): Buffer[];
}

/** What is wrong whatever the lock is. */
export function checkedCommand(words: readonly string[], options: RunOptions): CommandWords {
  const command = commandOf(words);
  if (!options.fork && options.close) throw new CliError('the --no-fork and --close options are incompatible', USAGE);
  if (options.permits !== undefined && options.shared)
    throw new CliError('the --permits and --shared options are incompatible', USAGE);
  return command;
}

/** flock(1)'s forms: COMMAND [ARG…] or -c STRING; and `--` before the command. */
function commandOf(given: readonly string[]): CommandWords {
  const words = wordsOfCommand(given);
  const [first, ...rest] = words;
  if (first === '-c' || first === '--command') {
    if (rest.length !== 1) throw new CliError(`${first} requires exactly one command argument`, USAGE);
    return commandWords([process.env.SHELL || '/bin/sh', '-c'], rest);
  }
  if (first === undefined)
    throw new CliError(
      'which command? Usage: fairlock run [OPTION…] FILE -- COMMAND [ARG…] (see fairlock help run)',
      USAGE,
    );
  return commandWords([], words);
}

/** @param last the last words of the command line */
function commandWords(before: readonly string[], last: readonly string[]): CommandWords {
  const [file = '', ...args] = [...before, ...last];
  const text = (): { file: string; args: string[] } => {
    if (last.some((word, i) => isChanged(word, last.length - i)))
      throw new CliError('an argument is not UTF-8, and Node cannot pass it on as it is', USAGE);
    return { file, args };
  };
  const bytes = (): Buffer[] => {
    const raw = lastArguments(last.length) ?? (text() && last.map((word) => Buffer.from(word)));
    return [...before.map((word) => Buffer.from(word)), ...raw];
  };
  return { file, text, bytes };
}

/** Undefined: another process has it, for too long. */
async function acquire(path: string, options: RunOptions, signals: Signals): Promise<LockHandle | undefined> {
  const began = performance.now();
  // As in flock(1), `-w 0` does not wait.
  const nonblock = options.nonblock || options.wait === 0;
  const endNotice = nonblock ? () => {} : announceWait(path, (width) => heldBy(path, width), options.verbose, signals);
  try {
    // A mistyped path shall not make folders.
    statSync(dirname(resolve(path)));
    const timeout = nonblock ? 0 : (options.wait ?? Infinity) * 1000;
    const handle = await acquireOf(path, options)({ timeout });
    endNotice();
    if (options.verbose) say(`getting lock took ${((performance.now() - began) / 1000).toFixed(6)} seconds`);
    return handle;
  } catch (error) {
    endNotice();
    if (codeOf(error) !== 'ERR_LOCK_TIMEOUT') throw explained(path, error);
    if (options.verbose)
      say(`${nonblock ? 'failed to get lock' : 'timeout while waiting to get lock'}${await heldBy(path)}`);
    return undefined;
  }
}

async function heldBy(path: string, width?: number): Promise<string> {
  return (await import('./held-by.js')).heldBy(path, width);
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

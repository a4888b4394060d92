/** `fairlock wrapper -- COMMAND`: a temporary lock path for a command, like lockutils-wrapper. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

const USAGE = 64;
const CANNOT_RUN = 126;
const NOT_FOUND = 127;
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

export async function wrapper(args: readonly string[]): Promise<number> {
  const [file, ...rest] = args[0] === '--' ? args.slice(1) : args;
  if (file === undefined) {
    process.stderr.write('fairlock wrapper: which command? Usage: fairlock wrapper -- COMMAND [ARG…]\n');
    return USAGE;
  }
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-wrapper-'));
  try {
    return await run(file, rest, { ...process.env, OSLO_LOCK_PATH: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { env, stdio: 'inherit' });
    // A terminal sends its signals to the child as well; without one they come here alone.
    const passOn = (signal: NodeJS.Signals): void => void (process.stdin.isTTY || child.kill(signal));
    for (const signal of PASSED_ON) process.on(signal, passOn);
    child.once('error', (error: NodeJS.ErrnoException) => {
      process.stderr.write(`fairlock wrapper: ${error.message}\n`);
      resolve(error.code === 'ENOENT' ? NOT_FOUND : CANNOT_RUN);
    });
    child.once('exit', (code, signal) => {
      for (const one of PASSED_ON) process.off(one, passOn);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** `fairlock wrapper -- COMMAND`: a temporary lock path for a command, like lockutils-wrapper. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandIn } from './arguments.js';
import { runCommand } from './child.js';
import { Signals } from './signals.js';
import { surroundings } from './surroundings.js';

const CANNOT_RUN = 126;
const NOT_FOUND = 127;

export async function wrapper(words: readonly string[]): Promise<number> {
  const [file, ...args] = commandIn(words, 'fairlock wrapper -- COMMAND [ARG…]');
  const around = surroundings();
  const signals = new Signals(around.ignored);
  const folder = mkdtempSync(join(tmpdir(), 'fairlock-wrapper-'));
  try {
    const env = { ...process.env, OSLO_LOCK_PATH: folder };
    return await runCommand({ file, args, env, surroundings: around, signals }, ({ code }) =>
      code === 'ENOENT' ? NOT_FOUND : CANNOT_RUN,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `fairlock run`: flock(1), and more. */
import { firstTry } from '../inspect/index.js';
import { isChanged } from './arguments.js';
import { become, mayBecome } from './become.js';
import { checkedCommand } from './command-words.js';
import { CliError, USAGE } from './exit-codes.js';
import { type Run, type RunCall, type RunOptions, sayTaken } from './run-call.js';
import { Signals } from './signals.js';
import { surroundings } from './surroundings.js';

/** As the command line has it. @throws {CliError} */
export async function runCall({ file, words, options, engine }: RunCall): Promise<number> {
  const around = surroundings(); // Before anything else is opened.
  const signals = new Signals(around.ignored);
  const run: Run = { file, command: checkedCommand(words, options), options, around, signals };
  if (isChanged(file, words.length + 1))
    throw new CliError('the name of the lock file is not UTF-8, and Node cannot open it', USAGE);
  if (engine !== undefined) {
    const { runOnEngine } = await import('./run-on-engine.js');
    return runOnEngine(engine, run);
  }
  if (options.permits !== undefined && options.mechanism !== 'auto')
    throw new CliError('the --permits and --mechanism options are incompatible', USAGE);
  const fd =
    isPlain(options) && mayBecome(options) ? firstTry(file, options.shared ? 'shared' : 'exclusive') : undefined;
  if (fd === undefined) {
    const { runOnFile } = await import('./run-on-file.js');
    return runOnFile(run);
  }
  sayTaken(run, 0);
  return become(fd, run);
}

function isPlain({ mechanism, fair, permits }: RunOptions): boolean {
  return (mechanism === 'auto' || mechanism === 'flock') && !fair && permits === undefined;
}

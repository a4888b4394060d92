/** `fairlock run`: what it takes. */
import { type Command, Option } from 'commander';
import { messageOf } from '../../errors.js';
import { CliError, USAGE } from '../exit-codes.js';
import type { EngineChoice, RunCall, RunOptions } from '../run-call.js';
import { engineOf, exitCode, seconds, wholeNumber } from '../run-options.js';
import { reader } from './option-reader.js';

const EXIT_CODES = `
Exit codes: those of COMMAND, 128+n if signal n ended it; or
  1   another process holds the lock (-n, -w; see -E) 64  wrong usage
  66  the lock file cannot be opened                  69  COMMAND cannot be executed
  71  the lock cannot be acquired: another reason     73  the lock file cannot be created

Examples:
  fairlock run -n backup.lock -- ./backup.sh           not at all if it runs already
  fairlock run --permits 4 jobs.lock -- ./job.sh       four at a time`;

/** What commander makes of the options of `run`: a flag that was not given is not there. */
type GivenToRun = Pick<RunOptions, 'conflictExitCode' | 'fork' | 'mechanism'> &
  Partial<RunOptions> & {
    command?: string;
    nb?: boolean;
    nonblocking?: boolean;
    timeout?: number;
    etcd?: string;
    postgres?: string;
    redis?: string;
  };

export function registerRun(program: Command, call: (call: RunCall) => Promise<void>): void {
  /** flock(1) takes the last of them. */
  let shared = false;
  program
    .command('run')
    .summary('run a command while holding a lock, as flock(1) does')
    .description(
      'Run COMMAND while holding the lock FILE (a file, which is made if need be, or a directory).\nCOMMAND ' +
        'takes the place of fairlock, and has the lock until it ends.',
    )
    .usage('[OPTION…] FILE -- COMMAND [ARG…]\n       fairlock run [OPTION…] FILE -c STRING')
    .argument('<file>')
    .argument('[command...]')
    .passThroughOptions()
    .option('-s, --shared', 'a shared lock: beside other shared ones')
    .option('-x, --exclusive', 'an exclusive lock (the default)')
    .addOption(new Option('-e').hideHelp())
    .on('option:shared', () => {
      shared = true;
    })
    .on('option:exclusive', () => {
      shared = false;
    })
    .on('option:e', () => {
      shared = false;
    })
    .option('-n, --nonblocking', 'fail rather than wait')
    .addOption(new Option('--nb').hideHelp())
    .option('-w, --wait <seconds>', 'fail if it takes longer', reader(seconds))
    .addOption(new Option('--timeout <seconds>').argParser(reader(seconds)).hideHelp())
    .option('-E, --conflict-exit-code <code>', 'exit code of failing for -n and -w', reader(exitCode), 1)
    .option('-c, --command <string>', 'after FILE: run it by the shell')
    .option('-o, --close', 'COMMAND does not inherit the lock')
    .option('-F, --no-fork', 'become COMMAND, or fail where that cannot be')
    .option('-v, --verbose', 'say how long it took, and which process holds the lock')
    .option('--fair', 'strict order between all processes that use --fair')
    .addOption(
      new Option('--mechanism <name>', 'what to lock with')
        .choices(['auto', 'flock', 'fcntl', 'lockfile'])
        .default('auto'),
    )
    .option('--permits <n>', 'a semaphore: up to n holders at once', reader(wholeNumber))
    .option('--etcd <urls>', 'FILE is the name of a lock between machines, on etcd (needs @grpc/grpc-js)')
    .option('--postgres <url>', 'the same, on PostgreSQL (needs pg)')
    .option('--redis <url>', 'the same, on Redis or Valkey (needs redis or ioredis)')
    .addHelpText('after', EXIT_CODES)
    .action(async (file: string, words: string[], given: GivenToRun) => {
      if (given.command !== undefined) throw new CliError('-c comes after FILE', USAGE);
      const { conflictExitCode, close = false, fork, verbose = false, fair = false, mechanism, permits } = given;
      const nonblock = given.nonblocking === true || given.nb === true;
      const wait = given.wait ?? given.timeout;
      const options = { shared, nonblock, wait, conflictExitCode, close, fork, verbose, fair, mechanism, permits };
      await call({ file, words, options, engine: chosen(given) });
    });
}

function chosen({ etcd, postgres, redis }: GivenToRun): EngineChoice | undefined {
  try {
    return engineOf({ etcd, postgres, redis });
  } catch (error) {
    throw new CliError(messageOf(error), USAGE);
  }
}

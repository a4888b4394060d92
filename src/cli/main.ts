#!/usr/bin/env node
/** The command line: which command, with what. Each command's code is loaded when it is called. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { expandOptions } from './abbreviations.js';
import { CliError, USAGE } from './exit-codes.js';
import { printLines, say, toStderr } from './output.js';
import type { RunOptions } from './run.js';
import type { TraceOptions } from './trace.js';

declare const FAIRLOCK_VERSION: string;

const EXIT_CODES = `
Exit codes: those of COMMAND, 128+n if signal n ended it; or
  1   another process holds the lock (-n, -w; see -E) 64  wrong usage
  66  the lock file cannot be opened                  69  COMMAND cannot be executed
  71  the lock cannot be acquired: another reason     73  the lock file cannot be created

Examples:
  fairlock run -n backup.lock -- ./backup.sh           not at all if it runs already
  fairlock run -w 60 -E 75 db.lock -c 'psql < in.sql'  give up after a minute, with exit code 75
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
  };

const program = new Command('fairlock')
  .description('Locks between processes, for scripts.')
  .version(FAIRLOCK_VERSION, '-V, --version')
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError('(see fairlock help)')
  .configureHelp({ helpWidth: 100 })
  .configureOutput({
    writeOut: printLines,
    writeErr: toStderr,
    outputError: (text, write) => write(text.replace(/^error: /, 'fairlock: ')),
  });

const end = (code: number): void => {
  process.exitCode = code;
};

/** flock(1) takes the last of them. */
let shared = false;

program
  .command('run')
  .summary('run a command while holding a lock, as flock(1) does')
  .description(
    'Run COMMAND while holding the lock FILE (a file, which is made if need be, or a directory).\nThe ' +
      'command inherits the lock: it stays locked if fairlock is killed.',
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
  .option('-w, --wait <seconds>', 'fail if it takes longer', seconds)
  .addOption(new Option('--timeout <seconds>').argParser(seconds).hideHelp())
  .option('-E, --conflict-exit-code <code>', 'exit code of failing for -n and -w', exitCode, 1)
  .option('-c, --command <string>', 'after FILE: run it by the shell')
  .option('-o, --close', 'COMMAND does not inherit the lock')
  .option('-F, --no-fork', 'become COMMAND instead of starting it')
  .option('-v, --verbose', 'say how long it took, and which process holds the lock')
  .option('--fair', 'strict order between all processes that use --fair')
  .addOption(
    new Option('--mechanism <name>', 'what to lock with')
      .choices(['auto', 'flock', 'fcntl', 'lockfile'])
      .default('auto'),
  )
  .option('--permits <n>', 'a semaphore: up to n holders at once', wholeNumber)
  .option('--etcd <urls>', 'FILE is the name of a lock between machines, on etcd (needs @grpc/grpc-js)')
  .option('--postgres <url>', 'the same, on PostgreSQL (needs pg)')
  .addHelpText('after', EXIT_CODES)
  .action(async (file: string, words: string[], given: GivenToRun) => {
    if (given.command !== undefined) throw new CliError('-c comes after FILE', USAGE);
    const { run } = await import('./run.js');
    const { conflictExitCode, close = false, fork, verbose = false, fair = false, mechanism, permits } = given;
    const nonblock = given.nonblocking === true || given.nb === true;
    const wait = given.wait ?? given.timeout;
    const options = { shared, nonblock, wait, conflictExitCode, close, fork, verbose, fair, mechanism, permits };
    const { etcd, postgres } = given;
    if (etcd === undefined && postgres === undefined) return end(await run(file, words, options));
    if (etcd !== undefined && postgres !== undefined)
      throw new CliError('--etcd and --postgres are incompatible', USAGE);
    const { runOnEngine } = await import('./run-on-engine.js');
    end(await runOnEngine(etcd === undefined ? { postgres: postgres as string } : { etcd }, file, words, options));
  });

program
  .command('status')
  .summary('which processes hold and wait')
  .description('Show which processes hold and wait for FILEs, and for the locks in DIRECTORYs (default: this one).')
  .argument('[path...]')
  .option('--json', 'for programs: a list of { path, holders, waiters }')
  .option('--watch', 'again every second')
  .addHelpText(
    'after',
    `
STARTED is when the process was started: the kernel does not tell since when it holds.

Examples:
  fairlock status build.lock
  fairlock status --watch /var/lock
  fairlock status --json . | jq '.[].holders[].pid'`,
  )
  .action(async (paths: string[], { json = false, watch = false }: { json?: boolean; watch?: boolean }) => {
    const { status } = await import('./status.js');
    end(await status(paths.length === 0 ? ['.'] : paths, { json, watch }));
  });

program
  .command('locked')
  .summary('whether a lock is held, as an exit code')
  .description('Say whether any process holds the lock FILE. Nothing is made, and nothing is waited for.')
  .argument('<file>')
  .addHelpText(
    'after',
    `
Only a look: the answer may be out of date at once.
To do something only if the lock is free: fairlock run -n.

Exit codes: 0 locked; 1 free, or no such file; 66 it cannot be opened.

Examples:
  fairlock locked backup.lock && echo "a backup is running"`,
  )
  .action(async (file: string) => {
    const { locked } = await import('./locked.js');
    end(locked(file));
  });

program
  .command('gc')
  .summary('remove lock files that are not in use')
  .description(
    "Remove fairlock's lock files in DIRECTORY that no process holds or waits for: empty files with " +
      "fairlock's mark, and the files of its queues. Each is locked first; other fairlock processes may " +
      'come and go meanwhile.',
  )
  .argument('<directory>')
  .option('--dry-run', 'only say what would be removed')
  .option('--older-than <age>', 'only what was made longer ago: 90s, 15m, 12h, 30d')
  .addHelpText(
    'after',
    `
Only where no other program waits for the files! flock(1), Python, Go and Rust do not notice that
a file was removed while they waited for it: one of them would hold the old file, another process
a new one of the same name.

Examples:
  fairlock gc --dry-run /var/lock/app
  fairlock gc --older-than 7d /var/lock/app`,
  )
  .action(async (directory: string, { dryRun = false, olderThan }: { dryRun?: boolean; olderThan?: string }) => {
    const { age, gc } = await import('./gc.js');
    end(gc(directory, { dryRun, olderThan: olderThan === undefined ? undefined : age(olderThan) }));
  });

program
  .command('doctor')
  .summary('whether locks work here')
  .description(
    'Tell which native layers load, and try out, with two processes, what the file system of DIRECTORY ' +
      '(default: this one) does.',
  )
  .argument('[directory]')
  .option('--json', 'for programs: { fairlock, node, platform, libc, folder, ok, summary, findings }')
  .addHelpText(
    'after',
    `
Exit codes: 0 all is well; 1 something is not; 66 nothing can be tried out there.

Examples:
  fairlock doctor /var/lock
  fairlock doctor --json . | jq .summary`,
  )
  .action(async (directory = '.', { json = false }: { json?: boolean }) => {
    const { doctor } = await import('./doctor.js');
    end(await doctor(directory, { version: FAIRLOCK_VERSION, json }));
  });

program
  .command('trace')
  .summary('waits and holds, as a page to look at')
  .description(
    'Run COMMAND and write down every wait and hold of the Node programs that it starts, as one HTML\nfile; or look ' +
      'at FILEs for a while, whichever programs lock them.',
  )
  .usage('[OPTION…] -- COMMAND [ARG…]\n       fairlock trace [OPTION…] --watch FILE…')
  .argument('[command...]')
  .passThroughOptions()
  .option('-o, --out <file>', 'the page', 'fairlock-trace.html')
  .option('--watch <file...>', 'lock files to look at (Linux)')
  .option('--seconds <n>', 'how long to look at them, unless a Ctrl-C comes before', seconds, 10)
  .addHelpText(
    'after',
    `
Exit codes: those of COMMAND, 128+n if signal n ended it; 73 the page cannot be written.

Examples:
  fairlock trace -- npm run e2e
  fairlock trace -o locks.html --watch /var/lock/app.lock --seconds 60`,
  )
  .action(async (words: string[], options: TraceOptions) => {
    const { trace } = await import('./trace.js');
    end(await trace(words, options));
  });

program
  .command('wrapper')
  .summary('run a command with a lock folder of its own in OSLO_LOCK_PATH')
  .description(
    'Run COMMAND with a lock folder of its own in OSLO_LOCK_PATH, and remove it afterwards ' +
      "(oslo.concurrency's lockutils-wrapper).",
  )
  .usage('-- COMMAND [ARG…]')
  .argument('[command...]')
  .passThroughOptions()
  .addHelpText(
    'after',
    `
Exit codes: those of COMMAND, 128+n if signal n ended it; 126, 127 if it cannot be run, or found.

Examples:
  fairlock wrapper -- npm test`,
  )
  .action(async (words: string[]) => {
    const { wrapper } = await import('./wrapper.js');
    end(await wrapper(words));
  });

program
  .command('postgres-schema')
  .summary('print the SQL that fairlock/postgres needs for tokens and records')
  .description('Print the SQL that an administrator runs where the role of the program may not create a schema.')
  .option('--schema <name>', 'as the option schema of PostgresLocks', 'fairlock')
  .addHelpText('after', '\nExamples:\n  fairlock postgres-schema | psql "$DATABASE_URL"')
  .action(async ({ schema }: { schema: string }) => {
    const { schemaSql } = await import('../postgres/schema.js');
    printLines(schemaSql(schema));
  });

program
  .command('probe', { hidden: true })
  .argument('<mechanism>')
  .argument('<path>')
  .action(async (mechanism: string, path: string) => {
    const { probe } = await import('./doctor.js');
    probe(mechanism, path);
  });

for (const command of program.commands)
  command.copyInheritedSettings(program).showHelpAfterError(`(see fairlock help ${command.name()})`);

try {
  await program.parseAsync(expandOptions(process.argv.slice(2)), { from: 'user' });
} catch (error) {
  if (error instanceof CommanderError) end(error.exitCode === 0 ? 0 : USAGE);
  else if (error instanceof CliError) {
    say(error.message);
    end(error.exitCode);
  } else throw error;
}

/** As flock(1): decimals, also with an exponent. */
function seconds(text: string): number {
  if (!/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError('expected a number of seconds.');
  return Number(text);
}

function exitCode(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 255) throw new InvalidArgumentError('expected 0 to 255.');
  return Number(text);
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

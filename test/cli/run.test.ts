import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusOf } from '../../src/cli/lock-status.js';
import { InterProcessLock } from '../../src/index.js';
import { hasFcntl, hasFlock, hasParking } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { LineProgram, program, type Ran, run } from '../support/programs.js';
import { isSoak, rounds, some } from '../support/scale.js';
import { until } from '../support/waiting.js';

const OURS = [process.execPath, CLI, 'run'];
const THEIRS = ['flock'];
const hasReference = spawnSync('flock', ['--version']).status === 0;

/** For a shell that splits it into words: a name of the command without spaces, wherever this package is. */
const LINK = join(mkdtempSync(join(tmpdir(), 'fairlock-link-')), 'fairlock');
beforeAll(() => symlinkSync(CLI, LINK));
afterAll(() => rmSync(dirname(LINK), { recursive: true }));
const SHELL_WORDS = `${process.execPath} ${LINK} run`;
const LOCKS = [...(hasReference ? ['flock'] : []), SHELL_WORDS, `${SHELL_WORDS} -o`];

/** To the start of the line, and clear it. */
const WIPE = '\u001b[1G\u001b[2K';

const { path } = testFolder();

function call([command = '', ...before]: string[], ...args: string[]): Promise<Ran> {
  return run(command, [...before, ...args]);
}

const isFree = (file: string): boolean => {
  const handle = new InterProcessLock(file, { mechanism: 'flock', followSymlinks: true }).tryAcquire();
  handle?.release();
  return handle !== null;
};

/** Holds the lock by a shell that says so, and ends when its input ends. */
async function held([command = '', ...before]: string[], file: string, ...options: string[]): Promise<LineProgram> {
  const holder = new LineProgram(command, [...before, ...options, file, 'sh', '-c', 'echo held; read line']);
  expect(await holder.line()).toBe('held');
  return holder;
}

/** A file that is free, held exclusively, held shared; and what follows the program's name. */
type Row = ['free' | 'exclusive' | 'shared', (file: string) => string[]];

/** Options with which a lock that is held is not waited for, or not for long. */
const BRIEFLY = [
  ...[['-n'], ['-sn'], ['-xn'], ['-en'], ['-nE', '9'], ['-sn', '-E', '0'], ['-w', '0'], ['-w', '.05'], ['-s', '-w.05']],
  ...[
    ['--nb', '--exclusive'],
    ['--nonblock', '--shared'],
    ['-n', '-o'],
    ['-n', '-F'],
    ['-sn', '-o'],
    ['-sn', '-F'],
  ],
  ['--timeout', '0.05', '--conflict-exit-code', '66'],
];

const ROWS: Row[] = [
  ['free', (f) => [f, 'true']],
  ['free', (f) => [f, 'false']],
  ['free', (f) => [f, 'sh', '-c', 'exit 5']],
  ['free', (f) => [f, '-c', 'exit 3']],
  ['free', (f) => [f, '--command', 'echo $0; exit 4']],
  ['free', (f) => ['-x', f, 'true']],
  ['free', (f) => ['-e', f, 'true']],
  ['free', (f) => ['--exclusive', f, 'true']],
  ['free', (f) => ['-s', f, 'true']],
  ['free', (f) => ['--shared', f, 'true']],
  ['free', (f) => ['-sxn', f, 'true']],
  ['free', (f) => ['-w1', f, 'true']],
  ['free', (f) => ['--timeout', '1', f, 'true']],
  ['free', (f) => ['--wait=.5', f, 'true']],
  ['free', (f) => ['-w', '1e1', f, 'true']],
  ['free', (f) => ['-E', '7', f, 'true']],
  ['free', (f) => ['--', f, 'true']],
  ['free', (f) => [f, 'printf', '%s|', 'a b', '-n', '--', '', '*']],
  ['free', (f) => [f, 'sh', '-c', 'kill -9 $$']],
  ['free', (f) => [f, 'sh', '-c', 'kill -TERM $$']],
  ['free', (f) => ['-F', f, 'sh', '-c', 'exit 6']],
  ['free', (f) => ['--no-fork', f, 'sh', '-c', 'kill -PIPE $$']],
  ['free', (f) => ['-o', '-F', f, 'true']],
  ['free', (f) => [f, 'no-such-command']],
  ['free', (f) => [f, '/etc/passwd']],
  ['free', (f) => [f, '']],
  ['free', (f) => ['-F', f, 'no-such-command']],
  ['free', () => []],
  ['free', (f) => [f]],
  ['free', (f) => [f, '-c']],
  ['free', (f) => [f, '-c', 'true', 'true']],
  ['free', (f) => ['-c', 'true', f]],
  ['free', (f) => ['-w', 'soon', f, 'true']],
  ['free', (f) => ['-w', '', f, 'true']],
  ['free', () => ['-w']],
  ['free', (f) => ['-E', '300', f, 'true']],
  ['free', (f) => ['-E', 'x', f, 'true']],
  ['free', (f) => ['--nonsense', f, 'true']],
  ['free', (f) => [join(f, 'below', 'a', 'file'), 'true']],
  ['free', (f) => [join(f, 'no', 'folder'), 'true']],
  ['free', () => ['', 'true']],
  // What is inside is locked, and inherited, or not.
  ['free', (f) => [f, 'flock', '-n', f, 'true']],
  ['free', (f) => ['-o', f, 'flock', '-n', f, 'true']],
  ['free', (f) => ['-s', f, 'flock', '-sn', f, 'true']],
  ['free', (f) => [f, 'sh', '-c', 'readlink /proc/self/fd/3 | grep -c .']],
  ['free', (f) => ['-o', f, 'sh', '-c', 'readlink /proc/self/fd/3 | grep -c .']],
  ['exclusive', (f) => ['-n', f, 'true']],
  ['exclusive', (f) => ['--nb', f, 'true']],
  ['exclusive', (f) => ['--nonblock', '-E', '9', f, 'true']],
  ['exclusive', (f) => ['-n', '--conflict-exit-code', '0', f, 'true']],
  ['exclusive', (f) => ['-sn', f, 'true']],
  ['exclusive', (f) => ['-w', '0', f, 'true']],
  ['exclusive', (f) => ['-w', '.1', '-E', '75', f, 'true']],
  ['exclusive', (f) => ['-n', '-w', '100', f, 'true']],
  ['shared', (f) => ['-s', '-x', '-n', f, 'true']],
  ['shared', (f) => ['-x', '-s', '-n', f, 'true']],
  ['free', (f) => [f, '-c', '']],
  ['free', (f) => [f, '-c', 'exit 255']],
  ['free', (f) => [f, 'sh', '-c', 'exit 256']],
  ['free', (f) => [f, '-c', 'kill -INT $$']],
  ['free', (f) => [f, 'sh', '-c', 'kill -HUP $$']],
  ['free', (f) => [f, 'sh', '-c', 'kill -USR1 $$']],
  ['free', (f) => ['-F', f, '-c', 'exit 7']],
  ['free', (f) => ['-o', f, '-c', 'exit 8']],
  ['free', (f) => ['-o', f, 'sh', '-c', 'kill -9 $$']],
  ['free', (f) => ['-w', '1', '-w', '.5', f, 'true']],
  ['exclusive', (f) => ['-E', '5', '-E', '6', '-n', f, 'true']],
  ['free', (f) => ['-E', '-1', f, 'true']],
  ['free', (f) => ['-E', '256', f, 'true']],
  ['free', (f) => ['-E', '', f, 'true']],
  ['free', (f) => ['-E', '1.5', f, 'true']],
  ['free', (f) => ['-w', '1x', f, 'true']],
  ['free', (f) => ['-nn', f, 'true']],
  ['free', (f) => [f, 'env', 'A=b', 'sh', '-c', 'echo $A']],
  ['free', (f) => [f, 'sh', '-c', 'echo out; echo err >&2; exit 2']],
  ['free', (f) => [f, 'sh', '-c', 'cat; echo $?']],
  ['free', (f) => ['-sF', f, 'true']],
  ['free', (f) => ['--wai', '1', '--no-f', f, 'true']],
  ['free', () => ['-n']],
  ['free', () => ['-c']],
  ['free', () => ['--shared']],
  ['free', (f) => ['--nonb=1', f, 'true']],
  ['free', (f) => ['-Z', f, 'true']],
  ...BRIEFLY.flatMap((options): Row[] =>
    (['free', 'exclusive', 'shared'] as const).map((state) => [state, (f) => [...options, f, 'sh', '-c', 'exit 4']]),
  ),
];

describe.runIf(hasReference && hasParking)('beside flock(1), for each invocation the same exit code and output', () => {
  it('are 120 or more', () => {
    expect(ROWS.length).toBeGreaterThanOrEqual(120);
  });

  async function outcome(lock: string[], [state, args]: Row): Promise<object> {
    const file = path();
    const holder = state === 'free' ? undefined : await held(THEIRS, file, ...(state === 'shared' ? ['-s'] : []));
    const { code, signal, stdout, stderr } = await call(lock, ...args(file));
    holder?.child.stdin.end();
    // As a shell shows it: flock(1) ends with 128+n where its command was killed, fairlock is the command.
    const shown = code ?? 128 + constants.signals[signal as NodeJS.Signals];
    return { row: `${state}: ${args('FILE').join(' ')}`, code: shown, stdout, saysWhy: stderr !== '' };
  }

  const AT_ONCE = 6;
  it.each(Array.from({ length: Math.ceil(ROWS.length / AT_ONCE) }, (_, i) => i * AT_ONCE))(
    'from %d on',
    async (first) => {
      const rows = ROWS.slice(first, first + AT_ONCE);
      const theirs = await Promise.all(rows.map((row) => outcome(THEIRS, row)));
      expect(await Promise.all(rows.map((row) => outcome(OURS, row)))).toEqual(theirs);
    },
  );

  const kinds: [string, (file: string) => void][] = [
    ['a folder', (file) => mkdirSync(file)],
    ['a link', (file) => symlinkSync(`${file}.target`, file)],
    ['a link to a folder', (file) => symlinkSync(tmpdir(), file)],
    ['a file with content', (file) => writeFileSync(file, 'precious')],
  ];
  it.each(some(kinds, 4))('%s can be locked, and excludes both ways', async (_what, make) => {
    for (const [one, other] of [
      [OURS, THEIRS],
      [THEIRS, OURS],
    ] as const) {
      const file = path();
      make(file);
      const holder = await held(one, file);
      expect((await call(other, '-n', file, 'true')).code).toBe(1);
      const waiting = call(other, file, 'echo', 'granted');
      holder.child.stdin.end();
      expect((await waiting).stdout).toBe('granted\n');
    }
  });

  it('what the command leaves in the background keeps the lock that it inherited', async () => {
    for (const one of [THEIRS, OURS]) {
      const leave = ['sh', '-c', 'sleep 1000 >/dev/null 2>&1 & echo $!'];
      const inherits = path();
      const { stdout } = await call(one, inherits, ...leave);
      expect(isFree(inherits)).toBe(false);
      process.kill(Number(stdout), 'SIGKILL');
      await until(() => isFree(inherits));
      const closed = path();
      const { stdout: pid } = await call(one, '-o', closed, ...leave);
      expect(isFree(closed)).toBe(true);
      process.kill(Number(pid), 'SIGKILL');
    }
  });
});

describe.runIf(hasFlock)('fairlock run', () => {
  it.runIf(hasParking)(
    'killed with kill -9, takes the command along; with -o the command lives on, without the lock',
    async () => {
      for (const options of [[], ['-o']]) {
        const file = path();
        const command = ['sh', '-c', 'echo $$; exec sleep 1000'];
        const holder = new LineProgram(process.execPath, [CLI, 'run', ...options, file, '--', ...command]);
        const sleeper = Number(await holder.line());
        expect(sleeper === holder.child.pid).toBe(options.length === 0);
        if (options.length === 0 && hasParking)
          expect((await run(process.execPath, [CLI, 'status', file])).stdout).toMatch(
            new RegExp(`${sleeper} +sleep 1000 +holds`),
          );
        const exited = new Promise((resolve) => holder.child.once('exit', resolve));
        holder.child.kill('SIGKILL');
        await exited;
        expect(isFree(file)).toBe(true);
        if (options.length > 0) process.kill(sleeper, 'SIGKILL');
      }
    },
  );

  it('interrupted while it waits, never starts the command', async () => {
    const file = path();
    const started = path();
    const holder = await held(OURS, file);
    const waiting = new LineProgram(process.execPath, [CLI, 'run', file, '--', 'touch', started]);
    const exited = new Promise((resolve) => waiting.child.once('exit', (code, signal) => resolve([code, signal])));
    const line = new InterProcessLock(file, { mechanism: 'flock' });
    await until(() => line.inspect().waiters.length === 1 || !hasParking);
    waiting.child.kill('SIGINT');
    expect(await exited).toEqual([null, 'SIGINT']);
    holder.child.stdin.end();
    await until(() => isFree(file));
    expect(existsSync(started)).toBe(false);
  });

  it.runIf(isSoak)('says with -v what it does', async () => {
    const file = path();
    const { stderr } = await call(OURS, '-v', file, '--', 'true');
    expect(stderr).toMatch(/^fairlock: getting lock took \d+\.\d{6} seconds\nfairlock: executing true\n$/);
    const holder = await held(OURS, file);
    expect((await call(OURS, '-v', '-n', file, '--', 'true')).stderr).toMatch(
      /^fairlock: failed to get lock — held by pid \d+ \(.*\)\n$/,
    );
    expect((await call(OURS, '-v', '-w', '.01', file, '--', 'true')).stderr).toMatch(
      /^fairlock: timeout while waiting to get lock — held by pid \d+ \(.*\)\n$/,
    );
    holder.child.stdin.end();
  });

  it.runIf(isSoak)('makes no folders, and says what it could not open', async () => {
    const { code, stderr } = await call(OURS, path('nowhere/x'), '--', 'true');
    expect([code, stderr]).toEqual([
      66,
      expect.stringMatching(/cannot open lock file .*nowhere\/x: no such file or directory/),
    ]);
  });

  it.runIf(hasFcntl && isSoak)('locks with fcntl, where python sees it', async () => {
    const file = path();
    const holder = await held(OURS, file, '--mechanism', 'fcntl');
    const python = `import fcntl; fcntl.lockf(open('${file}', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)`;
    expect((await run('python3', ['-c', python])).stderr).toContain('BlockingIOError');
    expect(isFree(file)).toBe(true);
    holder.child.stdin.end();
  });

  it.runIf(isSoak)('locks with a lock folder', async () => {
    const file = path();
    const holder = await held(OURS, file, '--mechanism', 'lockfile');
    expect(existsSync(`${file}.lock`)).toBe(true);
    expect((await call(OURS, '--mechanism', 'lockfile', '-n', file, '--', 'true')).code).toBe(1);
    const exited = new Promise((resolve) => holder.child.once('exit', resolve));
    holder.child.stdin.end();
    await exited;
    expect(existsSync(`${file}.lock`)).toBe(false);
  });

  it.runIf(hasFcntl)('with --permits lets so many in', async () => {
    const file = path();
    const holders = [await held(OURS, file, '--permits', '2'), await held(OURS, file, '--permits', '2')];
    expect((await call(OURS, '--permits', '2', '-n', file, '--', 'true')).code).toBe(1);
    expect(await call(OURS, '--permits', '3', '-n', file, '--', 'true')).toMatchObject({
      code: 71,
      stderr: expect.stringContaining('a semaphore of 2 permits, not of 3'),
    });
    holders[0]?.child.stdin.end();
    expect((await call(OURS, '--permits', '2', file, '--', 'true')).code).toBe(0);
    holders[1]?.child.stdin.end();
  });

  const refused = [
    ['--permits', '2', '-s'],
    ['--permits', '2', '--mechanism', 'flock'],
    ['--permits', '0'],
  ];
  it.runIf(hasFcntl).each(some(refused.map((options) => [options])))('refuses %j', async (options) => {
    expect((await call(OURS, ...options, path(), '--', 'true')).code).toBe(64);
  });

  it.runIf(hasFcntl)('with --fair serves in order of arrival', async () => {
    const file = path();
    const out = path();
    const holder = await held(OURS, file, '--fair');
    const served = [];
    const count = rounds(3, 4);
    for (let i = 0; i < count; i++) {
      served.push(call(OURS, '--fair', file, '--', 'sh', '-c', `echo ${i} >> ${out}; wc -l < ${out}`));
      const line = new InterProcessLock(file, { fairness: 'fifo' });
      await until(() => line.inspect().waiters.length === i + 1);
    }
    holder.child.stdin.end();
    expect((await Promise.all(served)).map(({ stdout }) => Number(stdout))).toEqual(
      Array.from({ length: count }, (_, i) => i + 1),
    );
  });
});

describe.runIf(hasParking)('at a terminal', () => {
  const atTerminal = (...args: string[]): LineProgram =>
    new LineProgram('python3', [program('terminal.py'), process.execPath, CLI, 'run', ...args]);
  /** A line of bash, with jobs, in which `$LOCK` is the program and `$F` a lock file. */
  const shellAtTerminal = (line: string, lock: string): LineProgram =>
    new LineProgram('python3', [program('terminal.py'), 'bash', '-c', `set -m; ${line}`], {
      env: { ...process.env, LOCK: lock, F: path() },
    });
  async function linesUntil(terminal: LineProgram, pattern: RegExp): Promise<string[]> {
    const lines: string[] = [];
    do lines.push(await terminal.line());
    while (!pattern.test(lines.at(-1) ?? ''));
    return lines;
  }

  it.each([[[]], [['-o']]])('Ctrl-C reaches the command once: %j', async (options) => {
    const script = "trap 'echo interrupted' INT; echo ready; read line; echo left; exit 3";
    const terminal = atTerminal(...options, path(), '--', 'bash', '-c', script);
    await linesUntil(terminal, /ready/);
    terminal.child.stdin.write('^C\n');
    await linesUntil(terminal, /interrupted/);
    terminal.child.stdin.write('go on\n');
    const rest = await linesUntil(terminal, /exited/);
    expect(rest.filter((line) => line.includes('interrupted'))).toEqual([]);
    expect(rest.at(-1)).toBe('exited 3');
  });

  it.each(LOCKS)('Ctrl-Z stops it as a job of the shell, and fg goes on: %s', async (lock) => {
    const terminal = shellAtTerminal(
      `$LOCK $F sh -c 'echo ready; read line; echo got $line'; echo stopped $?; fg`,
      lock,
    );
    await linesUntil(terminal, /ready/);
    terminal.child.stdin.write('^Z\n');
    await linesUntil(terminal, /stopped 148/);
    terminal.child.stdin.write('more\n');
    await linesUntil(terminal, /got more/);
    await linesUntil(terminal, /exited 0/);
  });

  it.each(LOCKS)('is left as the command has set it: %s', async (lock) => {
    const terminal = shellAtTerminal('$LOCK $F stty -echo; stty -a', lock);
    expect((await linesUntil(terminal, /exited 0/)).join(' ')).toMatch(/ -echo /);
  });

  it.each(LOCKS)('is left as the foreground has set it, while a job ends in the background: %s', async (lock) => {
    const job = `$LOCK $F sh -c 'echo ready; read line < $F.fifo'`;
    const terminal = shellAtTerminal(
      `mkfifo $F.fifo; ${job} & read line; stty -echo; echo > $F.fifo; wait; stty -a`,
      lock,
    );
    await linesUntil(terminal, /ready/);
    terminal.child.stdin.write('go on\n');
    expect((await linesUntil(terminal, /exited 0/)).join(' ')).toMatch(/ -echo /);
  });

  it('is left as it is by a run that gives up', async () => {
    const line = 'flock $F sh -c "$LOCK -w .2 $F true & stty -echo; wait"; stty -a';
    expect((await linesUntil(shellAtTerminal(line, SHELL_WORDS), /exited 0/)).join(' ')).toMatch(/ -echo /);
  });

  it('an error that no code expects is still told at a terminal', async () => {
    // Its own module folder is hidden from it: what it needs next cannot be loaded.
    const line = `cp -r "$D" "$F.cli"; rm "$F.cli/parts.js"; "$0" "$F.cli/main.js" status; true`;
    const terminal = new LineProgram('python3', [program('terminal.py'), 'bash', '-c', line, process.execPath], {
      env: { ...process.env, F: path(), D: dirname(CLI) },
    });
    expect((await linesUntil(terminal, /exited 0/)).join(' ')).toContain('parts.js');
  });

  /** What a terminal has shown so far, of a wait for a lock that is held. */
  async function waitAtTerminal(file: string) {
    const holder = await held(OURS, file);
    const terminal = atTerminal(file, '--', 'echo', 'granted');
    let seen = '';
    terminal.child.stdout.on('data', (text) => {
      seen += text;
    });
    return { holder, terminal, seen: () => seen };
  }

  it('after a second says whom it waits for, and takes the line away', async () => {
    const file = path();
    const { holder, seen } = await waitAtTerminal(file);
    await until(() => seen().includes(' 1 waiting'));
    expect(seen()).toContain(`waiting for ${file} — held by pid ${holder.child.pid} (`);
    holder.child.stdin.end();
    await until(() => seen().includes('exited 0'));
    expect(seen().slice(seen().lastIndexOf(' 1 waiting'))).toContain(`${WIPE}granted`);
  });

  it('in the background it does not draw over what the foreground shows', async () => {
    const [file, other] = [path(), path()];
    const holder = await held(OURS, file);
    const job = `set -m; "$0" "$1" run "$2" true & read line; exit 0`;
    const terminal = new LineProgram('python3', [
      program('terminal.py'),
      'bash',
      '-c',
      job,
      process.execPath,
      CLI,
      file,
    ]);
    let shown = '';
    terminal.child.stdout.on('data', (text) => {
      shown += text;
    });
    await until(() => statusOf(file).waiters.length === 1);
    // One that began later, and is in the foreground, has drawn its line twice by now.
    const later = await waitAtTerminal(other);
    await until(() => later.seen().split('waiting for').length > 2);
    expect(shown).not.toContain('waiting for');
    for (const one of [holder, later.holder]) one.child.stdin.end();
    terminal.child.stdin.write('\n');
    await until(() => shown.includes('exited 0'));
  });

  it.runIf(isSoak)('interrupted while it waits, takes the line away and never starts the command', async () => {
    const file = path();
    const { holder, terminal, seen } = await waitAtTerminal(file);
    await until(() => seen().includes('waiting for'));
    terminal.child.stdin.write('^C\n');
    await until(() => seen().includes('killed 2'));
    expect(seen().slice(seen().lastIndexOf('waiting for'))).toMatch(
      new RegExp(`${WIPE.replaceAll('[', '\\[')}\\s+killed 2`),
    );
    holder.child.stdin.end();
    await until(() => isFree(file));
    expect(seen()).not.toContain('granted');
  });
});

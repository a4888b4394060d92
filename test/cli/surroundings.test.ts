/** What a command sees of the world when it is run by fairlock and by flock(1): the same. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasFlock, hasNamespaces, hasParking } from '../support/capabilities.js';
import { CLI, testFolder } from '../support/paths.js';
import { holdByFlock, LineProgram, run, track } from '../support/programs.js';
import { isSoak, some } from '../support/scale.js';
import { needs } from '../support/tools.js';
import { until } from '../support/waiting.js';

const { folder, path } = testFolder();
/** A name of the command in which a shell finds no space, wherever this package is. */
const LINK = path('fairlock');
beforeAll(() => symlinkSync(CLI, LINK));
const OURS = `${process.execPath} ${LINK} run`;
const NO_FORK = `${OURS} -F`;
const hasReference = spawnSync('flock', ['--version']).status === 0;

/** Runs a line of bash in which `$LOCK` stands for the program and `$F` for a lock file. */
async function shell(line: string, lock: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout, stderr } = await run('bash', ['-c', line], { LOCK: lock, F: path(), D: folder, ...env });
  return stdout + stderr;
}

/** The lines of the kernel's list of locks on a file. */
function waitsFor(file: string): string {
  const { ino } = statSync(file);
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`:${ino} `))
    .join('\n');
}

/** Descriptors beyond 2 without the lock's own, which flock(1) and fairlock have in different places. */
const DESCRIPTORS = `sh -c 'for fd in /proc/self/fd/*; do n=\${fd##*/}; t=$(readlink /proc/$$/fd/$n); case $n in 0|1|2) ;; *) case $t in "'"$F"'"|"") ;; *) echo "$n \${t%:*}" ;; esac ;; esac; done'`;

const BESIDE = `${OURS} -o`;
/** Those that become the command need the addon. */
const forms = [
  ['beside the command', BESIDE, 'flock -o'],
  ['as the command', OURS, 'flock'],
  ['-F', NO_FORK, 'flock'],
  ['--fair', `${OURS} --fair`, 'flock'],
  ['--mechanism fcntl', `${OURS} --mechanism fcntl`, 'flock'],
] as const;

describe.runIf(hasReference && hasFlock).each(some(hasParking ? forms : forms.slice(0, 1), 2))(
  'what the command sees, %s',
  (_form, ours, theirs) => {
    const rows: [string, string][] = [
      ['descriptors that came in', `exec 3<$D 5<$D 9<$D 20<$D 200<$D; $LOCK $F ${DESCRIPTORS}`],
      ['no descriptors beyond the lock', `$LOCK $F ${DESCRIPTORS}`],
      ['a pipe of which both ends came in', `exec 7<> <(:); $LOCK $F ${DESCRIPTORS} | sed 's/[0-9]*]/N]/'`],
      [
        "make's jobserver",
        `printf 'all:\\n\\t+@$$LOCK $$F sh -c "echo x >&\${W:-2}" 2>/dev/null; $$LOCK $$F sh -c "echo \\$$MAKEFLAGS" | grep -c jobserver\\n' > $D/Makefile; make -s -j2 -f $D/Makefile`,
      ],
      ['the limit of open files', `(ulimit -Sn 256; $LOCK $F sh -c 'ulimit -Sn; ulimit -Hn'; :)`],
      ['other limits', `(ulimit -Sc 0; ulimit -f 1234; $LOCK $F sh -c 'ulimit -c; ulimit -f'; :)`],
      ['the umask', `(umask 027; $LOCK $F sh -c umask)`],
      [
        'the environment',
        `env -i PATH=$PATH A='b c' N=$'x\\ny' LOCK="$LOCK" F=$F sh -c '$LOCK $F env' | grep -v -e '^_=' -e '^LOCK=' -e '^F=' | sort`,
      ],
      ['the working directory', `cd /; $LOCK $F pwd`],
      ['no signals ignored, SIGPIPE among them', `$LOCK $F sh -c "grep -e SigIgn -e SigBlk /proc/self/status"`],
      ['the exit code of a signal', `{ $LOCK $F sh -c 'kill -9 $$'; echo $?; } 2>/dev/null`],
      ['arguments of all kinds', `$LOCK $F printf '[%s]' '' ' ' $'a\\nb' é '*' '--' -x`],
      [
        'bytes that are not UTF-8',
        `B=$'\\xff\\xc3' $LOCK $F sh -c 'printf "%s %s" "$B" "$1" | od -tx1' sh $'\\xfe\\n'`,
      ],
      ['a replacement character that is one', `$LOCK $F printf %s '\ufffd'`],
      ['-c with bytes that are not UTF-8', `$LOCK $F -c $'printf "\\xff" | od -tx1'`],
      [
        'a current folder that is gone',
        `mkdir $F.d; cd $F.d; rmdir ../\${F##*/}.d; $LOCK relative true 2>/dev/null; echo $?`,
      ],
      ['a stderr that is a blocking pipe', `$LOCK $F sh -c 'grep flags /proc/self/fdinfo/2' 2>&1 | cat`],
      ['a closed stdin', `$LOCK $F sh -c 'ls -l /proc/self/fd/0 2>&1 | sed "s/.*->//"' < /dev/null`],
    ];
    // Node starts the command that it stays beside, and cannot pass on all bytes.
    const ofBytes = (row: string): boolean => row.includes('UTF-8');
    it.each(some(ours === BESIDE ? rows.filter(([what]) => !ofBytes(what)) : rows))(
      '%s: as with flock(1)',
      async (_what, line) => {
        expect(await shell(line, ours)).toBe(await shell(line, theirs));
      },
    );

    it('nohup: what it made ignored stays ignored', async () => {
      const seen = await shell(`nohup $LOCK $F sh -c 'grep SigIgn /proc/self/status' 2>/dev/null </dev/null`, ours);
      expect(Number.parseInt(seen.split(/\s+/)[1] ?? '0', 16) & 1).toBe(1);
    });

    it.runIf(ours !== BESIDE)('the lock is on 3, or on the first number that did not come in', async () => {
      const where = `sh -c 'for n in 3 4 5; do [ "$(readlink /proc/$$/fd/$n)" = '$F' ] && echo $n; done'`;
      if (isSoak) expect(await shell(`$LOCK $F ${where}`, ours)).toBe('3\n');
      expect(await shell(`exec 3<$D; $LOCK $F ${where}`, ours)).toBe('4\n');
    });
  },
);

describe.runIf(hasParking)('fairlock run leaves its surroundings as they are', () => {
  it('a stderr that is a pipe stays blocking while it waits, or others that share it lose output', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const waiting = track(spawn('bash', ['-c', `${OURS} ${file} true 2>&1 | cat`], { stdio: 'ignore' }));
    const ended = once(waiting, 'exit');
    const pid = await until(() => /-> FLOCK +ADVISORY +WRITE (\d+)/.exec(waitsFor(file))?.[1]);
    const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/2`, 'utf8'))?.[1] ?? '';
    expect(Number.parseInt(flags, 8) & 0o4000).toBe(0);
    await holder.letGo();
    await ended;
  });

  it('SIGUSR1 while it waits ends it, as it ends flock(1), and starts no debugger', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const waiter = track(
      spawn(process.execPath, [CLI, 'run', file, '--', 'echo', 'ran'], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    let output = '';
    for (const stream of [waiter.stdout, waiter.stderr])
      stream.on('data', (text) => {
        output += text;
      });
    await until(() => waitsFor(file).includes(`WRITE ${waiter.pid} `));
    waiter.kill('SIGUSR1');
    const [code, signal] = await once(waiter, 'exit');
    expect([code, signal, output]).toEqual([null, 'SIGUSR1', '']);
    await holder.letGo();
  });

  it.runIf(hasNamespaces)('as process 1 it ends by TERM while it waits', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const inside = `${OURS} ${file} -- echo ran`;
    const outer = track(
      spawn('unshare', ['--pid', '--fork', '--kill-child', 'sh', '-c', `exec ${inside}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    const children = `/proc/${outer.pid}/task/${outer.pid}/children`;
    const child = await until(() => readFileSync(children, 'utf8').trim());
    await until(
      () => waitsFor(file).includes('-> FLOCK') && readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('fairlock'),
    );
    process.kill(Number(child), 'SIGTERM');
    const [code, signal] = await once(outer, 'exit');
    expect([code, signal]).toEqual([143, null]);
    await holder.letGo();
  });

  it.runIf(hasNamespaces)('without /proc it passes on what came in all the same', async () => {
    const hide = 'mount -t tmpfs none /proc; exec 5<"$D" 7>"$F.out"; $LOCK "$F" sh -c \'echo "$1" >&7; cat <&5\' sh é';
    const [file, came] = [path(), path()];
    writeFileSync(came, 'came in');
    const { stdout, stderr } = await run('unshare', ['--mount', 'sh', '-c', hide], { LOCK: OURS, F: file, D: came });
    expect([stdout, stderr]).toEqual(['came in', '']);
    expect(readFileSync(`${file}.out`, 'utf8')).toBe('é\n');
  });

  it("flock(1)'s own boilerplate works: a script that locks itself", async () => {
    const script = path();
    const lines = [
      '#!/bin/bash',
      '[ "$FLOCKER" != "$0" ] && exec env FLOCKER="$0" $LOCK -en "$0" "$0" "$@" || :',
      'echo "ran $1"',
    ];
    writeFileSync(script, `${lines.join('\n')}\n`, { mode: 0o755 });
    for (const lock of some([OURS, NO_FORK, ...(hasReference ? ['flock'] : [])], 2)) {
      const { stdout, stderr } = await run(script, ['it'], { LOCK: lock });
      expect([stderr, stdout]).toEqual(['', 'ran it\n']);
    }
  });

  it('with -o, where Node starts the command, an argument that is not UTF-8 is refused, not changed', async () => {
    const seen = await shell(`$LOCK -o $F printf %s $'\\xff'; echo $?`, OURS);
    expect(seen).toMatch(/^64\nfairlock: an argument is not UTF-8/);
  });

  it('a lock file whose name is not UTF-8 is refused, and none of another name is made', async () => {
    const seen = await shell(`mkdir $F; cd $F; $LOCK $'\\xff' true; echo $?; ls | wc -l`, OURS);
    expect(seen).toMatch(/^64\n0\nfairlock: the name of the lock file is not UTF-8/);
  });
});

describe('options of run', () => {
  it.runIf(hasReference && hasFlock)('-w 0 does not wait, and says what flock says', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const { code, stderr } = await run(process.execPath, [CLI, 'run', '-v', '-w', '0', file, '--', 'true']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^fairlock: failed to get lock — held by pid \d+/)]);
    for (const option of some(['--nonblocking', '--nonblock', '--non'])) {
      expect((await run(process.execPath, [CLI, 'run', option, file, 'true'])).code).toBe(1);
    }
    await holder.letGo();
  });

  it.runIf(isSoak)('a wrong option names the help of its command', async () => {
    expect((await run(process.execPath, [CLI, 'run', '--nope'])).stderr).toContain('(see fairlock help run)');
  });
});

describe.runIf(hasFlock)('what other processes are called', () => {
  it('comes to the terminal without its escapes', async () => {
    needs('flock');
    const file = path();
    const holder = new LineProgram('bash', [
      '-c',
      `exec -a $'\\e]0;owned\\a' flock ${file} sh -c 'echo held; read line'`,
    ]);
    expect(await holder.line()).toBe('held');
    const { stdout } = await run(process.execPath, [CLI, 'status', file], { COLUMNS: '400' });
    expect(stdout).toContain('\\x1b]0;owned');
    expect(stdout).not.toContain('\u001b]0;owned');
    holder.child.stdin.end();
  });

  it('of fairlock run is the command after --', async () => {
    const file = path();
    const holder = new LineProgram(process.execPath, [CLI, 'run', file, '--', 'sh', '-c', 'echo held; read line']);
    expect(await holder.line()).toBe('held');
    const { stdout } = await run(process.execPath, [CLI, 'status', file]);
    expect(stdout).toMatch(/ {2}sh -c echo held; read line {2}/);
    expect(stdout).not.toContain('main.js');
    holder.child.stdin.end();
  });

  it.runIf(hasNamespaces)('status of a lock whose holder is not visible says that there is one', async () => {
    const file = path();
    const holder = await holdByFlock(file);
    const { stdout } = spawnSync(
      'unshare',
      ['--pid', '--fork', '--mount-proc', process.execPath, CLI, 'status', file],
      { encoding: 'utf8' },
    );
    expect(stdout).toMatch(/\?\s+not visible from here\s+holds/);
    await holder.letGo();
  });
});

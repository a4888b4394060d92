/** The scripts for shells, each asked by its shell. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CLI, testFolder } from '../support/paths.js';
import { LineProgram, program, run } from '../support/programs.js';
import { until } from '../support/waiting.js';

const { path } = testFolder();
const has = (shell: string): boolean => spawnSync(shell, ['-c', 'exit 0']).status === 0;
const hasPython = spawnSync('python3', ['-c', '']).status === 0;

async function script(shell: string): Promise<string> {
  const file = path();
  const { code, stdout } = await run(process.execPath, [CLI, 'completion', shell]);
  expect(code).toBe(0);
  writeFileSync(file, stdout);
  return file;
}

/** What is typed, and some of what is offered for its last word. */
const TYPED: [string, string[]][] = [
  ['fairlock ', ['run', 'status', 'locked', 'gc', 'doctor', 'trace', 'wrapper', 'completion']],
  ['fairlock st', ['status']],
  ['fairlock run --me', ['--mechanism']],
  ['fairlock run --mechanism f', ['fcntl', 'flock']],
  ['fairlock status --', ['--json', '--watch']],
  ['fairlock completion ', ['bash', 'fish', 'zsh']],
];

describe('fairlock completion', () => {
  it.runIf(has('bash')).each(TYPED)('in bash: %j', async (typed, offered) => {
    const words = typed.split(' ');
    const ask = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fairlock; printf "%s\\n" "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await run('bash', ['-c', ask, await script('bash'), ...words]);
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toEqual(expect.arrayContaining(offered));
  });

  it.runIf(has('bash'))('in bash: a command after --, and files of any name', async () => {
    const ask = `source "$0"; COMP_WORDS=(fairlock run f -- ech); COMP_CWORD=4; _fairlock; printf "%s\\n" "\${COMPREPLY[@]}"`;
    expect((await run('bash', ['-c', ask, await script('bash')])).stdout.split('\n')).toContain('echo');
  });

  it.runIf(has('fish')).each(TYPED)('in fish: %j', async (typed, offered) => {
    const { stdout, stderr } = await run('fish', [
      '-c',
      `source "$argv[1]"; complete -C "$argv[2]"`,
      await script('fish'),
      typed,
    ]);
    expect(stderr).toBe('');
    expect(stdout.split('\n').map((line) => line.split('\t')[0])).toEqual(expect.arrayContaining(offered));
  });

  it.runIf(has('zsh') && hasPython).each(TYPED)('in zsh: %j', async (typed, offered) => {
    const terminal = new LineProgram('python3', [program('terminal.py'), 'zsh', '-f', '-i']);
    let shown = '';
    terminal.child.stdout.on('data', (text) => {
      shown += text;
    });
    const file = await script('zsh');
    terminal.child.stdin.write(
      `unsetopt LIST_AMBIGUOUS; autoload -U compinit; compinit -D; source '${file}'; PS1='rea''dy> '\n`,
    );
    await until(() => shown.includes('ready>'));
    shown = '';
    terminal.child.stdin.write(`${typed}\t`);
    await until(() => offered.every((word) => shown.includes(word)));
  });

  it('names the shells that it knows', async () => {
    const { code, stderr } = await run(process.execPath, [CLI, 'completion', 'csh']);
    expect([code, stderr]).toEqual([64, expect.stringContaining('bash, zsh, fish')]);
  });
});

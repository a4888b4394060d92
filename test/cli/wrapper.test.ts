import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CLI } from '../support/paths.js';
import { LineProgram, run } from '../support/programs.js';
import { isSoak } from '../support/scale.js';

const fairlock = (...args: string[]) => run(process.execPath, [CLI, ...args]);

describe('fairlock wrapper', () => {
  it('gives the command a lock folder of its own and removes it', async () => {
    const { code, stdout, stderr } = await fairlock(
      'wrapper',
      '--',
      'sh',
      '-c',
      'test -d "$OSLO_LOCK_PATH" && touch "$OSLO_LOCK_PATH/x" && echo $OSLO_LOCK_PATH',
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.trim()).toContain('fairlock-wrapper-');
    expect(existsSync(stdout.trim())).toBe(false);
  });

  it('passes exit code and signal on', async () => {
    expect((await fairlock('wrapper', '--', 'sh', '-c', 'exit 7')).code).toBe(7);
    expect((await fairlock('wrapper', 'sh', '-c', 'kill -TERM $$')).code).toBe(143);
    expect((await fairlock('wrapper', '--', '/no/such/command')).code).toBe(127);
  });

  it.runIf(isSoak)('without a command is wrong usage', async () => {
    expect((await fairlock('wrapper')).code).toBe(64);
  });

  it('passes signals on to the command', async () => {
    const wrapped = new LineProgram(process.execPath, [
      CLI,
      'wrapper',
      '--',
      'sh',
      '-c',
      "sleep 1000 & trap 'kill $!; echo caught; exit 9' TERM; echo ready; wait",
    ]);
    expect(await wrapped.line()).toBe('ready');
    const exited = new Promise((resolve) => wrapped.child.once('exit', resolve));
    wrapped.child.kill('SIGTERM');
    expect(await wrapped.line()).toBe('caught');
    expect(await exited).toBe(9);
  });
});

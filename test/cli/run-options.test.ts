/** The short way by which `fairlock run` reads its options reads them as the library does that reads all others. */
import { Command } from 'commander';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { registerRun } from '../../src/cli/commands/run.js';
import type { RunCall } from '../../src/cli/run-call.js';
import { expandOptions, readRun } from '../../src/cli/run-options.js';
import { rounds } from '../support/scale.js';

/** What commander makes of it; undefined: it says that something is wrong. */
function readByLibrary(words: readonly string[]): RunCall | undefined {
  let read: RunCall | undefined;
  const program = new Command('fairlock').enablePositionalOptions().exitOverride();
  program.configureOutput({ writeOut: () => {}, writeErr: () => {} });
  registerRun(program, async (call) => {
    read = call;
  });
  for (const command of program.commands) command.copyInheritedSettings(program);
  try {
    program.parse(expandOptions(words), { from: 'user' });
  } catch {
    return undefined;
  }
  return read;
}

const word = fc.oneof(
  ...['f', 'true', '', '-', '--', 'a b', '1', '0.5', '-1', '2e1', '300', 'x', '=', '-c', '-h'].map((one) =>
    fc.constant(one),
  ),
);
const long = fc.constantFrom(
  ...[
    'shared',
    'exclusive',
    'nonblocking',
    'nonblock',
    'nb',
    'n',
    'wait',
    'w',
    'timeout',
    'time',
    'conflict-exit-code',
  ],
  ...[
    'conf',
    'close',
    'cl',
    'command',
    'no-fork',
    'no',
    'verbose',
    'verb',
    'fair',
    'mechanism',
    'permits',
    'etcd',
    'e',
  ],
  ...['postgres', 'post', 'redis', 'red', 'help', 'version', 'nonsense', 'ex', 's', 'sh'],
);
const option = fc.oneof(
  long.map((name) => `--${name}`),
  fc.tuple(long, word).map(([name, value]) => `--${name}=${value}`),
  fc.stringMatching(/^-[sxenwEcoFvh]{1,4}$/),
  fc.constantFrom('-w1', '-w.5', '-E7', '-E300', '-nw1', '-w=1', '--mechanism=flock', '--mechanism=x', '--permits=2'),
);
const line = fc.array(fc.oneof({ weight: 2, arbitrary: option }, { weight: 1, arbitrary: word }), { maxLength: 6 });

describe('options of run', () => {
  it('are read as by the library, or left to it', () => {
    let short = 0;
    fc.assert(
      fc.property(line, (words) => {
        const call = readRun(['run', ...words]);
        if (call === undefined) return;
        short++;
        expect(call).toEqual(readByLibrary(['run', ...words]));
      }),
      { numRuns: rounds(2000, 50_000) },
    );
    expect(short).toBeGreaterThan(100);
  });

  it('go the short way where nothing is wrong', () => {
    const plain = [
      ['f', 'true'],
      ['-n', 'f', '--', 'true', '-x'],
      ['-w', '1', '-E', '75', 'f', '-c', 'x'],
      ['--shared', '--', 'f', 'x'],
      ['--fair', '--permits=3', 'f', 'x'],
    ];
    for (const words of plain) expect(readRun(['run', ...words])).toEqual(readByLibrary(['run', ...words]));
    expect(readRun(['run', '-w', '1', '-sxn', 'f', 'x'])).toMatchObject({
      options: { wait: 1, shared: false, nonblock: true },
    });
  });

  it.each([
    [
      ['run', '--nonb', 'f', '--', 'x', '--sh'],
      ['run', '--nonblocking', 'f', '--', 'x', '--sh'],
    ],
    [
      ['run', '--nonblock', 'f'],
      ['run', '--nonblocking', 'f'],
    ],
    [
      ['run', '--time', '3', '--sh', 'f', '--sh'],
      ['run', '--timeout', '3', '--shared', 'f', '--sh'],
    ],
    [
      ['run', '--conf=7', 'f'],
      ['run', '--conflict-exit-code=7', 'f'],
    ],
    [
      ['run', '-w', '--sh', 'f'],
      ['run', '-w', '--sh', 'f'],
    ],
    [
      ['run', '--c', 'f'],
      ['run', '--c', 'f'],
    ],
    [
      ['run', '--nb', 'f'],
      ['run', '--nb', 'f'],
    ],
    [
      ['status', '--js'],
      ['status', '--js'],
    ],
  ])('abbreviated as getopt takes them: %j', (given, spelled) => {
    expect(expandOptions(given)).toEqual(spelled);
  });
});

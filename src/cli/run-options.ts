/**
 * The options of `fairlock run`, read without the library that reads all other command lines and takes longer to load
 * than a lock to get. What is not plainly right is left to that library, which says what is wrong.
 */
import { parseArgs } from 'node:util';
import type { EngineChoice, EngineKind, RunCall } from './run-call.js';

const OPTIONS = {
  shared: { type: 'boolean', short: 's' },
  exclusive: { type: 'boolean', short: 'x' },
  e: { type: 'boolean', short: 'e' },
  nonblocking: { type: 'boolean', short: 'n' },
  nb: { type: 'boolean' },
  wait: { type: 'string', short: 'w' },
  timeout: { type: 'string' },
  'conflict-exit-code': { type: 'string', short: 'E' },
  command: { type: 'string', short: 'c' },
  close: { type: 'boolean', short: 'o' },
  'no-fork': { type: 'boolean', short: 'F' },
  verbose: { type: 'boolean', short: 'v' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  fair: { type: 'boolean' },
  mechanism: { type: 'string' },
  permits: { type: 'string' },
  etcd: { type: 'string' },
  postgres: { type: 'string' },
  redis: { type: 'string' },
} as const;
const MECHANISMS = ['auto', 'flock', 'fcntl', 'lockfile'] as const;
const MODES = ['shared', 'exclusive', 'e'];
/** Not to be abbreviated, so that the beginnings of flock(1)'s options stay what they are; or with one dash only. */
const FULL_ONLY = ['etcd', 'postgres', 'redis', 'e'];
const SHORT_WITH_VALUE = /^-[a-zA-Z]*[wEc]$/;

/** Of a command line that begins with `run`; undefined: there is something to say about it. */
export function readRun([first, ...words]: readonly string[]): RunCall | undefined {
  if (first !== 'run') return undefined;
  const { options, rest } = split(words);
  const [file, ...command] = rest[0] === '--' ? rest.slice(1) : rest;
  if (file === undefined) return undefined;
  try {
    const { values, tokens } = parseArgs({ args: options, options: OPTIONS, strict: true, tokens: true });
    const valued = tokens.flatMap((one) => (one.kind === 'option' && one.value !== undefined ? one.name : []));
    if (new Set(valued).size < valued.length) return undefined; // One of the values may be wrong.
    // flock(1) takes the last of them.
    const mode = tokens.flatMap((one) => (one.kind === 'option' && MODES.includes(one.name) ? one.name : [])).at(-1);
    const { etcd, postgres, redis, mechanism = 'auto' } = values;
    const [wait, timeout] = [seconds(values.wait), seconds(values.timeout)];
    const permits = wholeNumber(values.permits);
    const conflictExitCode = exitCode(values['conflict-exit-code'] ?? '1');
    const known = MECHANISMS.find((name) => name === mechanism);
    const isOdd = values.help || values.version || values.command !== undefined;
    if (isOdd || known === undefined) return undefined;
    return {
      file,
      words: command,
      options: {
        shared: mode === 'shared',
        nonblock: values.nonblocking === true || values.nb === true,
        wait: wait ?? timeout,
        conflictExitCode,
        close: values.close === true,
        fork: values['no-fork'] !== true,
        verbose: values.verbose === true,
        fair: values.fair === true,
        mechanism: known,
        permits,
      },
      engine: engineOf({ etcd, postgres, redis }),
    };
  } catch {
    return undefined;
  }
}

/** @throws {RangeError} more than one of them */
export function engineOf({ etcd, postgres, redis }: Record<EngineKind, string | undefined>): EngineChoice | undefined {
  const given = Object.entries({ etcd, postgres, redis }).filter(
    (one): one is [EngineKind, string] => one[1] !== undefined,
  );
  if (given.length > 1) throw new RangeError('--etcd, --postgres and --redis are incompatible');
  const [first] = given;
  return first === undefined ? undefined : { kind: first[0], url: first[1] };
}

/** The words with every abbreviated option before FILE spelled out: getopt_long takes any beginning that is one's only. */
export function expandOptions(words: readonly string[]): string[] {
  if (words[0] !== 'run') return [...words];
  const { options, rest } = split(words.slice(1));
  return ['run', ...options, ...rest];
}

/** What is before FILE, and the rest: FILE, or a `--` before it. */
function split(words: readonly string[]): { options: string[]; rest: string[] } {
  const options: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === '--' || !word.startsWith('-') || word === '-') return { options, rest: words.slice(i) };
    const [, name, value = ''] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    const full = name === undefined ? undefined : fullName(name);
    options.push(full === undefined ? word : `--${full}${value}`);
    const takesNext =
      full === undefined ? SHORT_WITH_VALUE.test(word) : OPTIONS[full].type === 'string' && value === '';
    if (takesNext && i + 1 < words.length) options.push(words[++i] as string);
  }
  return { options, rest: [] };
}

function fullName(name: string): keyof typeof OPTIONS | undefined {
  const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];
  const exact = names.find((one) => one === name && one !== 'e');
  if (exact !== undefined) return exact;
  const matches = names.filter((one) => one.startsWith(name) && !FULL_ONLY.includes(one));
  return matches.length === 1 ? matches[0] : undefined;
}

/** As flock(1): decimals, also with an exponent. @throws {RangeError} */
export function seconds(text: string): number;
export function seconds(text: string | undefined): number | undefined;
export function seconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new RangeError('expected a number of seconds.');
  return Number(text);
}

/** @throws {RangeError} */
export function exitCode(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 255) throw new RangeError('expected 0 to 255.');
  return Number(text);
}

/** @throws {RangeError} */
export function wholeNumber(text: string): number;
export function wholeNumber(text: string | undefined): number | undefined;
export function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new RangeError('expected a whole number.');
  return Number(text);
}

/**
 * Abbreviated options of `run`: flock(1) takes any beginning of a long option that only one option has (getopt_long).
 */

/** Of flock(1) and of `fairlock run`; true: a value follows. */
const LONG_OPTIONS: Record<string, boolean> = {
  shared: false,
  exclusive: false,
  nonblocking: false,
  nb: false,
  wait: true,
  timeout: true,
  'conflict-exit-code': true,
  command: true,
  close: false,
  'no-fork': false,
  verbose: false,
  help: false,
  version: false,
  fair: false,
  mechanism: true,
  permits: true,
};
/** Not to be abbreviated, so that the beginnings of flock(1)'s options stay what they are. */
const FULL_ONLY = ['etcd', 'postgres'];
const SHORT_WITH_VALUE = /^-[a-zA-Z]*[wEc]$/;

/** The words with every abbreviated option before FILE spelled out. */
export function expandOptions(words: readonly string[]): string[] {
  if (words[0] !== 'run') return [...words];
  const expanded = ['run'];
  for (let i = 1; i < words.length; i++) {
    const word = words[i] as string;
    if (word === '--' || !word.startsWith('-') || word === '-') return [...expanded, ...words.slice(i)];
    const [, name, rest = ''] = /^--([^=]+)(=.*)?$/s.exec(word) ?? [];
    const full = name === undefined ? undefined : fullName(name);
    expanded.push(full === undefined ? word : `--${full}${rest}`);
    const takesNext = full === undefined ? SHORT_WITH_VALUE.test(word) : (LONG_OPTIONS[full] ?? true) && rest === '';
    if (takesNext && i + 1 < words.length) expanded.push(words[++i] as string);
  }
  return expanded;
}

function fullName(name: string): string | undefined {
  if (name in LONG_OPTIONS || FULL_ONLY.includes(name)) return name;
  const matches = Object.keys(LONG_OPTIONS).filter((one) => one.startsWith(name));
  return matches.length === 1 ? matches[0] : undefined;
}

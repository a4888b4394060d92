/** A process's command line as it is shown to people. */

/** Of `fairlock run … -- COMMAND` the command: that of every holder would else begin the same, with node and a path. */
function wordsOfCommand(words: readonly string[]): readonly string[] {
  const dashes = words.indexOf('--');
  const isRun =
    dashes > 0 &&
    words.slice(0, dashes).includes('run') &&
    words.slice(0, 4).some((word) => /(^|[/\\])fairlock$|dist[/\\]cli[/\\]main\.js$/.test(word));
  return isRun && dashes + 1 < words.length ? words.slice(dashes + 1) : words;
}

export function commandLine(words: readonly string[]): string {
  return wordsOfCommand(words).join(' ');
}

/** Of this process, as it may be logged and kept. */
export function ownCommand(): string {
  return shortened(wordsOfCommand(process.argv));
}

/** Programs whose first argument, if it is no option, is the program proper. */
const INTERPRETER =
  /(^|[/\\])(node|nodejs|bun|deno|tsx|ts-node|python|perl|ruby|php|java|sh|bash|dash|zsh|npx)[\d.]*(\.exe)?$/;

/**
 * The program and, of an interpreter, its script: arguments may be passwords, and errors and records are logged, sent
 * and kept. Whatever looks at the process itself (`inspect()`, `fairlock status`, ps) shows all.
 */
export function withoutArguments(command: string): string {
  return shortened(command.split(' '));
}

function shortened([program = '', ...words]: readonly string[]): string {
  const [script] = words;
  const isScript = script !== undefined && !script.startsWith('-') && INTERPRETER.test(program);
  const shown = isScript ? `${program} ${script}` : program;
  return words.length > (isScript ? 1 : 0) ? `${shown} …` : shown;
}

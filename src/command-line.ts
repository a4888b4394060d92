/** A process's command line as it is shown to people. */

/** Of `fairlock run … -- COMMAND` the command: that of every holder would else begin the same, with node and a path. */
export function commandLine(words: readonly string[]): string {
  const dashes = words.indexOf('--');
  const isRun =
    dashes > 0 &&
    words.slice(0, dashes).includes('run') &&
    words.slice(0, 4).some((word) => /(^|[/\\])fairlock$|dist[/\\]cli[/\\]main\.js$/.test(word));
  return (isRun && dashes + 1 < words.length ? words.slice(dashes + 1) : words).join(' ');
}

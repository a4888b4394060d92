/** `fairlock trace`: what it takes. */
import type { Command } from 'commander';
import { seconds } from '../run-options.js';
import type { TraceOptions } from '../trace.js';
import { reader } from './option-reader.js';

export function registerTrace(program: Command, end: (code: number) => void): void {
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
    .option('--seconds <n>', 'how long to look at them, unless a Ctrl-C comes before', reader(seconds), 10)
    .addHelpText(
      'after',
      `
Exit codes: those of COMMAND, 128+n if signal n ended it; 73 the page cannot be written.

Examples:
  fairlock trace -- npm run e2e
  fairlock trace -o locks.html --watch /var/lock/app.lock --seconds 60`,
    )
    .action(async (words: string[], options: TraceOptions) => {
      const { trace } = await import('../trace.js');
      end(await trace(words, options));
    });
}

/** `fairlock wrapper`: what it takes. */
import type { Command } from 'commander';

export function registerWrapper(program: Command, end: (code: number) => void): void {
  program
    .command('wrapper')
    .summary('run a command with a lock folder of its own in OSLO_LOCK_PATH')
    .description(
      'Run COMMAND with a lock folder of its own in OSLO_LOCK_PATH, and remove it afterwards ' +
        "(oslo.concurrency's lockutils-wrapper).",
    )
    .usage('-- COMMAND [ARG…]')
    .argument('[command...]')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
Exit codes: those of COMMAND, 128+n if signal n ended it; 126, 127 if it cannot be run, or found.

Examples:
  fairlock wrapper -- npm test`,
    )
    .action(async (words: string[]) => {
      const { wrapper } = await import('../wrapper.js');
      end(await wrapper(words));
    });
}

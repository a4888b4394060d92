/** `fairlock status`: what it takes. */
import type { Command } from 'commander';

export function registerStatus(program: Command, end: (code: number) => void): void {
  program
    .command('status')
    .summary('which processes hold and wait')
    .description('Show which processes hold and wait for FILEs, and for the locks in DIRECTORYs (default: this one).')
    .argument('[path...]')
    .option('--json', 'for programs: a list of { path, holders, waiters }')
    .option('--watch', 'again every second')
    .addHelpText(
      'after',
      `
STARTED is when the process was started: the kernel does not tell since when it holds.

Examples:
  fairlock status build.lock
  fairlock status --watch /var/lock
  fairlock status --json . | jq '.[].holders[].pid'`,
    )
    .action(async (paths: string[], { json = false, watch = false }: { json?: boolean; watch?: boolean }) => {
      const { status } = await import('../status.js');
      end(await status(paths.length === 0 ? ['.'] : paths, { json, watch }));
    });
}

/** `fairlock gc`: what it takes. */
import type { Command } from 'commander';

export function registerGc(program: Command, end: (code: number) => void): void {
  program
    .command('gc')
    .summary('remove lock files that are not in use')
    .description(
      "Remove fairlock's lock files in DIRECTORY that no process holds or waits for: empty files with " +
        "fairlock's mark, and the files of its queues. Each is locked first; other fairlock processes may " +
        'come and go meanwhile.',
    )
    .argument('<directory>')
    .option('--dry-run', 'only say what would be removed')
    .option('--older-than <age>', 'only what was made longer ago: 90s, 15m, 12h, 30d')
    .addHelpText(
      'after',
      `
Only where no other program waits for the files! flock(1), Python, Go and Rust do not notice that
a file was removed while they waited for it: one of them would hold the old file, another process
a new one of the same name.

Examples:
  fairlock gc --dry-run /var/lock/app
  fairlock gc --older-than 7d /var/lock/app`,
    )
    .action(async (directory: string, { dryRun = false, olderThan }: { dryRun?: boolean; olderThan?: string }) => {
      const { age, gc } = await import('../gc.js');
      end(gc(directory, { dryRun, olderThan: olderThan === undefined ? undefined : age(olderThan) }));
    });
}

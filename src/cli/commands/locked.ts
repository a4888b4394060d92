/** `fairlock locked`: what it takes. */
import type { Command } from 'commander';

export function registerLocked(program: Command, end: (code: number) => void): void {
  program
    .command('locked')
    .summary('whether a lock is held, as an exit code')
    .description('Say whether any process holds the lock FILE. Nothing is made, and nothing is waited for.')
    .argument('<file>')
    .addHelpText(
      'after',
      `
Only a look: the answer may be out of date at once.
To do something only if the lock is free: fairlock run -n.

Exit codes: 0 locked; 1 free, or no such file; 66 it cannot be opened.

Examples:
  fairlock locked backup.lock && echo "a backup is running"`,
    )
    .action(async (file: string) => {
      const { locked } = await import('../locked.js');
      end(locked(file));
    });
}

/** `fairlock doctor`: what it takes. */
import type { Command } from 'commander';

export function registerDoctor(program: Command, end: (code: number) => void, version: string): void {
  program
    .command('doctor')
    .summary('whether locks work here')
    .description(
      'Tell which native layers load, and try out, with two processes, what the file system of DIRECTORY ' +
        '(default: this one) does.',
    )
    .argument('[directory]')
    .option('--json', 'for programs: { fairlock, node, platform, libc, folder, ok, summary, findings }')
    .addHelpText(
      'after',
      `
Exit codes: 0 all is well; 1 something is not; 66 nothing can be tried out there.

Examples:
  fairlock doctor /var/lock
  fairlock doctor --json . | jq .summary`,
    )
    .action(async (directory = '.', { json = false }: { json?: boolean }) => {
      const { doctor } = await import('../doctor.js');
      end(await doctor(directory, { version, json }));
    });

  // What it starts itself.
  program
    .command('probe', { hidden: true })
    .argument('<mechanism>')
    .argument('<path>')
    .action(async (mechanism: string, path: string) => {
      const { probe } = await import('../doctor.js');
      probe(mechanism, path);
    });
}

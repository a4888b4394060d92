/** `fairlock postgres-schema`: what it takes. */
import type { Command } from 'commander';
import { printLines } from '../output.js';

export function registerPostgresSchema(program: Command): void {
  program
    .command('postgres-schema')
    .summary('print the SQL that fairlock/postgres needs for tokens and records')
    .description('Print the SQL that an administrator runs where the role of the program may not create a schema.')
    .option('--schema <name>', 'as the option schema of PostgresLocks', 'fairlock')
    .addHelpText('after', '\nExamples:\n  fairlock postgres-schema | psql "$DATABASE_URL"')
    .action(async ({ schema }: { schema: string }) => {
      const { schemaSql } = await import('../../postgres/schema.js');
      printLines(schemaSql(schema));
    });
}

/** What the locks keep in the database: the source of the tokens, and the server's timeline. */

/** A name as SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The sequence of the tokens, in a string of SQL. */
export function tokenSequence(schema: string): string {
  return `${quoted(schema)}.token`.replaceAll("'", "''");
}

/** The SQL that an administrator runs where the program's role may not create a schema. */
export function schemaSql(schema = 'fairlock'): string {
  const name = quoted(schema);
  return [
    `CREATE SCHEMA IF NOT EXISTS ${name};`,
    '-- Fencing tokens. They begin with the time of day in ms, so that they go on from those of file locks.',
    'DO $$ BEGIN',
    `  IF to_regclass('${tokenSequence(schema)}') IS NULL THEN`,
    `    EXECUTE 'CREATE SEQUENCE ${tokenSequence(schema)} START ' || (extract(epoch FROM now()) * 1000)::bigint;`,
    '  END IF;',
    'END $$;',
    '-- When this server was first seen on its timeline: after a failover the locks of before are gone.',
    `CREATE TABLE IF NOT EXISTS ${name}.epoch (timeline text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());`,
    '-- What runOnce has done.',
    `CREATE TABLE IF NOT EXISTS ${name}.record (lock text, key text, text text NOT NULL, PRIMARY KEY (lock, key));`,
    `GRANT USAGE ON SCHEMA ${name} TO PUBLIC;`,
    `GRANT SELECT, INSERT, UPDATE ON ${name}.record TO PUBLIC;`,
    `GRANT USAGE, SELECT, UPDATE ON SEQUENCE ${name}.token TO PUBLIC;`,
    `GRANT SELECT, INSERT ON ${name}.epoch TO PUBLIC;`,
    '',
  ].join('\n');
}

/** Why there is none of it. */
export function noSchema(schema: string, what: string): string {
  const cure = "run the SQL of 'fairlock postgres-schema' as an administrator";
  return `there are no ${what}, since the schema '${schema}' does not exist and this role may not create it: ${cure}`;
}

/** Clients for `connect` of PostgresLocks. */
import pg from 'pg';

/** Connected; `onStatement` is told of each statement before it is sent. */
export async function connectedTo(url: string, onStatement?: (statement: unknown) => void): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => {});
  await client.connect();
  if (onStatement === undefined) return client;
  const { query } = client;
  client.query = function (this: pg.Client, ...args: unknown[]) {
    onStatement(args[0]);
    return (query as (...all: unknown[]) => unknown).apply(this, args);
  } as never;
  return client;
}

/** Whether a server keeps session locks, asked once: some proxies and servers say yes to each and lock nothing. */
import { randomBytes } from 'node:crypto';
import { codeOf, LockUnsupportedError, messageOf } from '../errors.js';
import type { Session } from './session.js';

const POOLED =
  'a proxy in transaction pooling mode (PgBouncer, or the pooler of Neon or Supabase) is between this program and the ' +
  'server: session locks would stay with connections of other programs. Connect directly, use session pooling, or ' +
  'lock in the transaction (lockInTransaction)';
const ONE_CONNECTION =
  'a second connection is not served while the first one is: a proxy (PgBouncer) with one connection to the server is ' +
  'between them. A process needs one, and one more for each lock that it waits for: let it have more (pool_size), or ' +
  'connect directly';
const STANDBY = 'the server is a standby, which has advisory locks of its own. Connect to the primary';
const NOT_LOCKING =
  'the server grants one advisory lock to two sessions at once (CockroachDB does): it cannot be used for locks';

/**
 * @param open opens a second connection
 * @throws {LockUnsupportedError} with the cure
 */
export async function probe(control: Session, open: () => Promise<Session>): Promise<void> {
  const { rows } = await control.query('SELECT pg_is_in_recovery() AS standby, pg_backend_pid() AS pid');
  if (rows[0].standby === true) throw new LockUnsupportedError(undefined, STANDBY);
  const key = randomBytes(8).readBigInt64BE().toString();
  let second: Session | undefined;
  try {
    second = await open();
    // In transaction pooling the second client gets the connection that the first one used, and the first another one.
    await second.query('BEGIN');
    const inside = (await second.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    const again = (await control.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    await second.query('COMMIT');
    if (inside === rows[0].pid || again !== rows[0].pid) throw new LockUnsupportedError(undefined, POOLED);

    const lock = 'SELECT pg_try_advisory_lock($1::bigint) AS granted';
    const first = (await control.query(lock, [key])).rows[0].granted;
    const other = (await second.query(lock, [key])).rows[0].granted;
    if (first !== true || other !== false) throw new LockUnsupportedError(undefined, NOT_LOCKING);
    await control.query('SELECT pg_advisory_unlock($1::bigint)', [key]);
  } catch (error) {
    // The server has answered the first session a moment ago.
    throw isNoAnswer(error) ? new LockUnsupportedError(undefined, ONE_CONNECTION, error) : error;
  } finally {
    second?.end('the probe is done');
  }
}

function isNoAnswer(error: unknown): boolean {
  return codeOf(error) === 'ERR_LOCK_ENGINE' || /timeout expired/.test(messageOf(error));
}

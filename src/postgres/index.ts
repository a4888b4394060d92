/** fairlock/postgres: locks between machines, on PostgreSQL's advisory locks. */
import type * as Pg from 'pg';
import type { Client, ClientConfig } from 'pg';
import type { EngineLock, EngineLockOptions, EngineReaderWriterLock } from '../engine/engine-lock.js';
import { EngineLocks } from '../engine/engine-locks.js';
import { shown } from '../errors.js';
import { requireHere } from '../require.js';
import { optionsObject } from '../validate.js';
import { keyOf, type PostgresKey, parametersOf } from './keys.js';
import { PostgresEngine } from './postgres-engine.js';
import { streamOf } from './session.js';

export type { EngineInspection, EngineLockOptions, FencedHandle } from '../engine/engine-lock.js';
export type { PostgresKey } from './keys.js';
export { schemaSql } from './schema.js';

function loadPg(): typeof Pg {
  try {
    return requireHere('pg') as typeof Pg;
  } catch (cause) {
    throw new Error('fairlock/postgres needs the package pg, which is not installed: npm install pg', { cause });
  }
}

const pg = loadPg();

export interface PostgresLocksOptions {
  /** As pg takes it. One of `connectionString`, `config` and `connect` is required. */
  connectionString?: string | undefined;
  config?: ClientConfig | undefined;
  /** Makes a client that is connected, and that no other code uses. */
  connect?: (() => Promise<Client>) | undefined;
  /** Where the tokens come from. @default 'fairlock' */
  schema?: string | undefined;
  /** One serves all locks that are free; each lock that is waited for needs one of its own. @default 20 */
  maxConnections?: number | undefined;
  /** After how many ms without an answer of the server a lock counts as lost. @default 10000 */
  lossAfter?: number | undefined;
}

const OPTIONS = ['connectionString', 'config', 'connect', 'schema', 'maxConnections', 'lossAfter'];

/** The locks of one database. Connects when a lock is first asked for. */
export class PostgresLocks extends EngineLocks<PostgresEngine> {
  /** @throws {TypeError} @throws {RangeError} a bad option */
  constructor(options: PostgresLocksOptions) {
    const given = optionsObject<Partial<PostgresLocksOptions>>(options, OPTIONS);
    const { connectionString, config, connect, schema = 'fairlock', maxConnections = 20, lossAfter = 10_000 } = given;
    if ([connectionString, config, connect].filter((one) => one !== undefined).length !== 1) {
      throw new TypeError('connectionString, config, connect: exactly one of them is required');
    }
    if (!Number.isInteger(maxConnections) || maxConnections < 2) {
      throw new RangeError(`maxConnections: expected a whole number of at least 2, got ${shown(maxConnections)}`);
    }
    if (!(lossAfter >= 5000)) throw new RangeError(`lossAfter: expected at least 5000, got ${shown(lossAfter)}`);
    const settings = { keepAlive: true, connectionTimeoutMillis: lossAfter, ...(config ?? { connectionString }) };
    const open = async (): Promise<Client> => {
      const client = new pg.Client(settings);
      client.on('error', () => {}); // A session listens as soon as it is connected.
      try {
        await client.connect();
      } catch (error) {
        // pg leaves it open where the server waits for a password that there is none of: the process would stay alive.
        streamOf(client).destroy();
        throw error;
      }
      return client;
    };
    super(new PostgresEngine({ connect: connect ?? open, schema, maxConnections, lossAfter }), 64);
  }

  /**
   * The lock of a name, or of an advisory lock that other programs use (`key`).
   * @param options `handOver`, `reentrant`, `key`
   */
  override lock(name: string, options: EngineLockOptions & { key?: PostgresKey } = {}): EngineLock {
    const { key, ...others } = options;
    if (key !== undefined) this.engine.keys.set(name, key);
    return super.lock(name, others);
  }

  override readerWriterLock(name: string, { key }: { key?: PostgresKey } = {}): EngineReaderWriterLock {
    if (key !== undefined) this.engine.keys.set(name, key);
    return super.readerWriterLock(name);
  }

  /**
   * Locks in the transaction that `client` is in, until it ends: no lease, no token, and it works behind transaction
   * pooling. It excludes `lock(name)` of the same database.
   */
  static async lockInTransaction(client: Pick<Client, 'query'>, name: string): Promise<void> {
    const { text, values } = parametersOf(keyOf(name));
    await client.query(`SELECT pg_advisory_xact_lock(${text})`, values);
  }
}

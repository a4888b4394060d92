/**
 * PostgreSQL's advisory locks as an engine. A lock belongs to a session: it is free as soon as its connection is gone.
 * What is free is locked on the control session, which all requests of the process share; what is contended is waited
 * for, and then held, on a session of the pool.
 */
import type { Client } from 'pg';
import type { Engine, EngineGrant, EngineRequest } from '../engine/engine.js';
import { engineError } from '../engine/engine-error.js';
import { backOff, pause, throughOutages, within } from '../engine/retry.js';
import { codeOf, LockEngineError, LockUnsupportedError, messageOf } from '../errors.js';
import type { LockParty, Parties } from '../options.js';
import { Control } from './control.js';
import { keyOf, type PostgresKey, permitKeys, queueKeyOf, shownAs } from './keys.js';
import { type Locked, Locking } from './locking.js';
import { Permits } from './permits.js';
import { Pool } from './pool.js';
import { PostgresGrant } from './postgres-grant.js';
import { Recent } from './recent.js';
import { noSchema, quoted } from './schema.js';
import type { Session } from './session.js';

const LATER_MS = 500;
/** Waiting does not repair these: credentials, rights, a database that does not exist, a server that is read-only. */
const FATAL = /^(28|3D|0A|42|25006)/;
/** Nor these, of TLS and of names. */
const FATAL_CODES = /^(ENOTFOUND|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT)/;
/** What pg says without a code. */
const FATAL_TEXTS = /server does not support SSL|password must be a string/;

export interface PostgresEngineOptions {
  readonly connect: () => Promise<Client>;
  readonly schema: string;
  readonly maxConnections: number;
  readonly lossAfter: number;
}

export class PostgresEngine implements Engine {
  readonly name = 'PostgreSQL';
  /** By the name of the lock, where it was given. */
  readonly keys = new Map<string, PostgresKey>();
  readonly #control: Control;
  readonly #pool: Pool;
  readonly #locking: Locking;
  readonly #permits: Permits;
  readonly #contended = new Contended();
  #isClosed = false;

  constructor(private readonly options: PostgresEngineOptions) {
    this.#control = new Control(options);
    // One connection is the control session.
    this.#pool = new Pool(() => this.#control.open(), options.maxConnections - 1);
    this.#locking = new Locking(this.#control, options.schema);
    this.#permits = new Permits(this.#locking);
  }

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    const { lossAfter } = this.options;
    const late = (): Error => new LockEngineError(request.name, `PostgreSQL has not answered within ${lossAfter} ms`);
    let isLate = false;
    const trying = this.#tryOnce(request).then((grant) => {
      if (isLate) void grant?.release();
      return grant;
    });
    try {
      // A session that does not answer ends first: the next try finds another one.
      return await within(lossAfter + LATER_MS, trying, late);
    } catch (error) {
      isLate = true;
      throw this.#engineError(request, error);
    }
  }

  acquire(
    request: EngineRequest,
    signal: AbortSignal,
    trouble: (error: unknown) => void = () => {},
  ): Promise<EngineGrant> {
    let isTrouble = false;
    return throughOutages(
      async () => {
        const session = !isTrouble && this.#contended.isLikely(request) ? this.#pool.takeIdle() : undefined;
        if (session !== undefined) return this.#waitOn(session, request, signal);
        const grant = await this.#tryOnce(request);
        this.#contended.seen(request, grant === null);
        if (signal.aborted) void grant?.release();
        signal.throwIfAborted();
        trouble(undefined);
        return grant ?? this.#acquireContended(request, signal);
      },
      {
        signal,
        isHopeless: isFatal,
        told: (error) => this.#engineError(request, error),
        trouble: (error) => {
          isTrouble = true;
          trouble(error);
        },
      },
    );
  }

  async inspect({ name, permits }: EngineRequest): Promise<Parties> {
    const queue = permits === undefined ? undefined : queueKeyOf(name);
    const keys = queue === undefined ? [this.#keyOf(name)] : [...permitKeys(name, permits ?? 1), queue];
    const all = keys.map(shownAs);
    const control = await this.#control.session();
    const { rows } = await control.query(
      `SELECT l.granted, l.mode, l.pid, l.objid::bigint AS objid, a.application_name AS application, a.client_addr AS address
       FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
       WHERE l.locktype = 'advisory'
         AND (l.classid::bigint, l.objid::bigint, l.objsubid::int) IN
           (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[]))
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ORDER BY a.query_start`,
      [all.map(({ classid }) => classid), all.map(({ objid }) => objid), all.map(({ objsubid }) => objsubid)],
    );
    const party = ({ mode, pid, application, address }: (typeof rows)[0]): LockParty => {
      const [, ours, host] = /^fairlock (\d+)@(.*)$/.exec(application ?? '') ?? [];
      const shared = mode === 'ShareLock';
      if (ours !== undefined && host !== undefined) return { pid: Number(ours), host, shared };
      return { pid, command: application || `server process ${pid}`, host: address ?? 'the server', shared };
    };
    // The holder of a semaphore's queue is its first waiter.
    const inQueue = queue === undefined ? undefined : shownAs(queue).objid;
    const holds = ({ granted, objid }: (typeof rows)[0]): boolean => granted && Number(objid) !== inQueue;
    return { holders: rows.filter(holds).map(party), waiters: rows.filter((row) => !holds(row)).map(party) };
  }

  async readRecord(name: string, key: string): Promise<string | undefined> {
    const { session, table } = await this.#records(name);
    return (await session.query(`SELECT text FROM ${table} WHERE lock = $1 AND key = $2`, [name, key])).rows[0]?.text;
  }

  async writeRecord(name: string, key: string, text: string): Promise<void> {
    const { session, table } = await this.#records(name);
    await session.query(
      `INSERT INTO ${table} (lock, key, text) VALUES ($1, $2, $3) ON CONFLICT (lock, key) DO UPDATE SET text = $3`,
      [name, key, text],
    );
  }

  /** What is held stays held, until it is released. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#pool.close();
    await this.#control.close();
  }

  /** Where they are kept. @throws {LockUnsupportedError} nowhere */
  async #records(name: string): Promise<{ session: Session; table: string }> {
    const session = await this.#control.session();
    const { schema } = this.options;
    if (!this.#control.hasTokens) throw new LockUnsupportedError(name, noSchema(schema, 'records'));
    return { session, table: `${quoted(schema)}.record` };
  }

  #keyOf(name: string): PostgresKey {
    return this.keys.get(name) ?? keyOf(name);
  }

  /** One try, on the control session. */
  async #tryOnce(request: EngineRequest): Promise<EngineGrant | null> {
    const session = await this.#control.session();
    await this.#control.grace();
    const { name, mode, permits } = request;
    const locked = await (permits === undefined
      ? this.#locking.try(session, this.#keyOf(name), mode)
      : this.#permits.try(session, request));
    return locked === null ? null : this.#grant(session, request, locked);
  }

  async #acquireContended(request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    const session = await this.#sessionOrGrant(request, signal);
    return 'release' in session ? session : this.#waitOn(session, request, signal);
  }

  async #waitOn(session: Session, request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    try {
      await this.#sameServer(session);
      signal.throwIfAborted();
      const { name, mode, permits } = request;
      const locked = await (permits === undefined
        ? this.#locking.wait(session, this.#keyOf(name), mode, signal)
        : this.#permits.wait(session, request, signal));
      return this.#grant(session, request, locked);
    } catch (error) {
      this.#pool.giveBack(session);
      throw error;
    }
  }

  /**
   * 1. This process tries a lock on the old primary, by the control session: another process holds it there. 2. The name
   * of the server leads to a new primary from now on; the old one is stopped, or cut off, and its connections do not know.
   * 3. A connection that is made now reaches the new primary, where the lock is free, while the holder may work on for
   * `lossAfter`. So a lock is waited for only on the server on which the control session is, whose time of grace is over.
   */
  async #sameServer(session: Session): Promise<void> {
    await this.#control.sessionBeside(session);
    await this.#control.grace();
  }

  /**
   * A session to wait on. While there is none (the process holds or waits for others on all of them) the lock is tried on
   * the control session: what becomes free must not wait for what is held, perhaps by a process that waits for us.
   */
  async #sessionOrGrant(request: EngineRequest, signal: AbortSignal): Promise<Session | EngineGrant> {
    const controller = new AbortController();
    const giveUp = (): void => controller.abort(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    let session: Session | undefined;
    let isUsed = false;
    const taking = this.#pool.take(controller.signal);
    const taken = taking.then((got) => {
      session = got;
    });
    taken.catch(() => {});
    try {
      for (const delay of backOff()) {
        await Promise.race([taken, pause(delay, controller.signal)]);
        if (session !== undefined) {
          isUsed = true;
          return session;
        }
        signal.throwIfAborted();
        const granted = await this.#tryOnce(request);
        if (signal.aborted) void granted?.release();
        signal.throwIfAborted();
        if (granted !== null) return granted;
      }
      throw new Error('unreachable: the delays never end');
    } finally {
      signal.removeEventListener('abort', giveUp);
      if (!isUsed) {
        giveUp();
        taking.then((got) => this.#pool.giveBack(got)).catch(() => {}); // It may have come at this very moment.
      }
    }
  }

  #grant(session: Session, { name, mode, permits }: EngineRequest, { key, token }: Locked): EngineGrant {
    const { schema, lossAfter } = this.options;
    // The permits of a semaphore are locked exclusively, each.
    const held = permits === undefined ? mode : 'exclusive';
    const release = async (): Promise<void> => {
      await this.#locking.unlock(session, key, held);
      if (session !== (await this.#control.known())) this.#pool.giveBack(session);
      else if (this.#isClosed && session.holds.size === 0) session.end('closed');
    };
    return new PostgresGrant(session, { name, token, schema, lossAfter, release });
  }

  #engineError({ name }: EngineRequest, error: unknown): unknown {
    return (error as Error)?.name === 'AbortError' ? error : engineError(this.name, name, error);
  }
}

/** So many times in a row a lock that was contended is waited for without a try before. */
const WITHOUT_A_TRY = 32;

/** Locks that were contended when they were last tried: a try that fails again is a round trip for nothing. */
class Contended {
  readonly #left = new Recent<number>();

  isLikely({ name, permits }: EngineRequest): boolean {
    const left = permits === undefined ? this.#left.get(name) : undefined;
    if (left === undefined) return false;
    if (left === 1) this.#left.delete(name);
    else this.#left.set(name, left - 1);
    return true;
  }

  seen({ name }: EngineRequest, isContended: boolean): void {
    if (isContended) this.#left.set(name, WITHOUT_A_TRY);
    else this.#left.delete(name);
  }
}

/** Whether waiting does not repair it. */
function isFatal(error: unknown): boolean {
  const code = codeOf(error) ?? '';
  if (code === 'ERR_LOCK_ENGINE') return false; // No answer: an outage.
  if (code.startsWith('ERR_LOCK_') || FATAL_CODES.test(code)) return true;
  return (/^[0-9A-Z]{5}$/.test(code) && FATAL.test(code)) || FATAL_TEXTS.test(messageOf(error));
}

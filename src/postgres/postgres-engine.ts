/**
 * PostgreSQL's advisory locks as an engine. A lock belongs to a session: it is free as soon as its connection is gone.
 */
import type { Client } from 'pg';
import type { Engine, EngineGrant, EngineRequest } from '../engine/engine.js';
import { backOff, pause, within } from '../engine/retry.js';
import { codeOf, LockEngineError, LockUnsupportedError, messageOf } from '../errors.js';
import type { LockParty, Parties } from '../options.js';
import { clearTimeout, monotonic, setTimeout, unref } from '../timers.js';
import { keyOf, type PostgresKey, parametersOf, permitKeys, queueKeyOf, shownAs } from './keys.js';
import { type GrantOwner, PostgresGrant } from './postgres-grant.js';
import { probe } from './probe.js';
import { noSchema, quoted, schemaSql } from './schema.js';
import { Session } from './session.js';

/** A connection without locks is closed after so many ms. */
const IDLE_MS = 30_000;
/** How often the first waiter of a semaphore looks for a free permit. */
const PERMIT_MS = 50;
const CANCELLED = '57014';
/** Waiting does not repair these: credentials, a database that does not exist. */
const FATAL = /^(28|3D|0A|42)/;

export interface PostgresEngineOptions {
  readonly connect: () => Promise<Client>;
  readonly schema: string;
  readonly maxConnections: number;
  readonly lossAfter: number;
}

export class PostgresEngine implements Engine, GrantOwner {
  readonly name = 'PostgreSQL';
  /** By the name of the lock, where it was given. */
  readonly keys = new Map<string, PostgresKey>();
  #control: Promise<Session> | undefined;
  #isProbed = false;
  #hasTokens = false;
  #mayGrantAt = 0;
  readonly #idle: { session: Session; timer: ReturnType<typeof setTimeout> }[] = [];
  #connections = 0;
  readonly #waitingForConnection = new Set<() => void>();
  #isClosed = false;
  readonly #permitTries = new Map<string, Promise<void>>();

  constructor(private readonly options: PostgresEngineOptions) {}

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    const { lossAfter } = this.options;
    const late = (): Error => new LockEngineError(request.name, `PostgreSQL has not answered within ${lossAfter} ms`);
    let isLate = false;
    const trying = this.#tryOnce(request).then((grant) => {
      if (isLate) void grant?.release();
      return grant;
    });
    try {
      return await within(lossAfter, trying, late);
    } catch (error) {
      isLate = true;
      throw this.#engineError(request, error);
    }
  }

  async acquire(request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    for (const delay of backOff()) {
      let session: Session | undefined;
      try {
        const granted = await this.#tryOnce(request);
        if (signal.aborted) void granted?.release();
        signal.throwIfAborted();
        if (granted !== null) return granted;
        session = await this.#connection(signal);
        signal.throwIfAborted();
        return await this.#waitOn(session, request, signal);
      } catch (error) {
        if (session !== undefined) this.#giveBack(session);
        if (signal.aborted || isFatal(error)) throw this.#engineError(request, error);
        await pause(delay, signal); // An outage: the lock is waited for until it is over.
      }
    }
    throw new Error('unreachable: the delays never end');
  }

  async inspect({ name, permits }: EngineRequest): Promise<Parties> {
    const queue = permits === undefined ? undefined : queueKeyOf(name);
    const keys = queue === undefined ? [this.#keyOf(name)] : [...permitKeys(name, permits ?? 1), queue];
    const all = keys.map(shownAs);
    const control = await this.#connected();
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
    const { rows } = await this.#inSchema(name, (table) => `SELECT text FROM ${table} WHERE lock = $1 AND key = $2`, [
      name,
      key,
    ]);
    return rows[0]?.text;
  }

  async writeRecord(name: string, key: string, text: string): Promise<void> {
    const insert = (table: string): string =>
      `INSERT INTO ${table} (lock, key, text) VALUES ($1, $2, $3) ON CONFLICT (lock, key) DO UPDATE SET text = $3`;
    await this.#inSchema(name, insert, [name, key, text]);
  }

  // biome-ignore lint/suspicious/noExplicitAny: rows are what the statement makes them
  async #inSchema(name: string, statement: (table: string) => string, values: string[]): Promise<{ rows: any[] }> {
    const session = await this.#connected();
    const { schema } = this.options;
    if (this.#hasTokens) return session.query(statement(`${quoted(schema)}.record`), values);
    throw new LockUnsupportedError(name, noSchema(schema, 'records'));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { session, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      session.end('closed');
    }
    const control = await this.#control?.catch(() => undefined);
    if (control !== undefined && control.holds.size === 0) control.end('closed');
  }

  async released(session: Session, key: PostgresKey, isShared: boolean): Promise<void> {
    const { text, values } = parametersOf(key);
    const unlocking = session.query(`SELECT pg_advisory_unlock${isShared ? '_shared' : ''}(${text})`, values);
    // Statements of a session are executed in order: a try that is sent from now on finds it unlocked.
    session.unreserve(String(key));
    try {
      await unlocking;
    } catch (error) {
      session.end(messageOf(error)); // With the session goes the lock.
    }
    const control = await this.#control?.catch(() => undefined);
    if (session !== control) this.#giveBack(session);
    else if (this.#isClosed && session.holds.size === 0) session.end('closed');
  }

  #keyOf(name: string): PostgresKey {
    return this.keys.get(name) ?? keyOf(name);
  }

  /** One try, on the control connection. */
  async #tryOnce(request: EngineRequest): Promise<EngineGrant | null> {
    const session = await this.#connected();
    await this.#grace();
    if (request.permits === undefined) return this.#tryLock(session, request);
    // One at a time: two tries on one session would not exclude each other.
    const before = this.#permitTries.get(request.name) ?? Promise.resolve();
    const trying = before.then(() => this.#tryPermit(session, request));
    const settled = trying.then(
      () => {},
      () => {},
    );
    this.#permitTries.set(request.name, settled);
    settled.then(() => {
      if (this.#permitTries.get(request.name) === settled) this.#permitTries.delete(request.name);
    });
    return trying;
  }

  async #tryLock(session: Session, { name, mode }: EngineRequest): Promise<EngineGrant | null> {
    const key = this.#keyOf(name);
    const isShared = mode === 'shared';
    if (!session.reserve(String(key), isShared)) return null;
    const { text, values } = parametersOf(key);
    const attempt = `pg_try_advisory_lock${isShared ? '_shared' : ''}(${text})`;
    const { rows } = await this.#locking(
      session,
      `SELECT granted, ${this.#hasTokens ? `CASE WHEN granted THEN nextval('${this.#token}') END` : 'NULL'} AS token
       FROM (SELECT ${attempt} AS granted OFFSET 0) AS tried`,
      values,
    );
    if (rows[0].granted === true) return this.#grant(session, name, key, isShared, rows[0].token);
    session.unreserve(String(key));
    return null;
  }

  async #waitOn(session: Session, request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    if (request.permits !== undefined) return this.#waitForPermit(session, request, signal);
    const key = this.#keyOf(request.name);
    const isShared = request.mode === 'shared';
    const token = await this.#lock(session, key, isShared, signal);
    session.reserve(String(key), isShared);
    return this.#grant(session, request.name, key, isShared, token);
  }

  /** Waits in the server's queue. Aborted: nothing stays locked. */
  async #lock(session: Session, key: PostgresKey, isShared: boolean, signal: AbortSignal): Promise<string | null> {
    const { text, values } = parametersOf(key);
    const lock = `pg_advisory_lock${isShared ? '_shared' : ''}(${text})`;
    const token = this.#hasTokens ? `nextval('${this.#token}')` : 'NULL';
    let cancelling: Promise<unknown> | undefined;
    const cancel = (): void => {
      // From another connection; should it come too late, the lock that was granted is unlocked below.
      cancelling = this.#connected()
        .then((control) => control.query('SELECT pg_cancel_backend($1)', [session.pid]))
        .catch((error) => session.end(messageOf(error)));
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const { rows } = await session.query(
        `WITH locked AS MATERIALIZED (SELECT ${lock}) SELECT ${token} AS token FROM locked`,
        values,
      );
      if (signal.aborted) throw signal.reason;
      return rows[0].token;
    } catch (error) {
      if (signal.aborted) {
        // Once it was sent: it must not hit the next wait of this session.
        await cancelling;
        await this.#unlockForSure(session, key, isShared);
      } else session.end(messageOf(error)); // See #locking.
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** A statement that has locked and then fails, for want of a token, leaves the lock: so the session is ended with it. */
  // biome-ignore lint/suspicious/noExplicitAny: rows are what the statement makes them
  async #locking(session: Session, text: string, values: unknown[]): Promise<{ rows: any[] }> {
    try {
      return await session.query(text, values);
    } catch (error) {
      session.end(messageOf(error));
      throw error;
    }
  }

  /** The cancellation of a wait may hit the statement after it: so until one is answered. */
  async #unlockForSure(session: Session, key: PostgresKey, isShared: boolean): Promise<void> {
    const { text, values } = parametersOf(key);
    while (!session.isEnded) {
      try {
        await session.query(`SELECT pg_advisory_unlock${isShared ? '_shared' : ''}(${text})`, values);
        // A cancellation that is still under way finds this one, not the next owner's.
        await session.query('SELECT 1');
        return;
      } catch (error) {
        if (codeOf(error) !== CANCELLED) session.end(messageOf(error));
      }
    }
  }

  /** Of the permits that this session does not hold itself: a session may lock a key twice. */
  async #tryPermit(session: Session, request: EngineRequest): Promise<EngineGrant | null> {
    const { name, permits = 1 } = request;
    const queue = queueKeyOf(name).toString();
    const isFirst = (await session.query('SELECT pg_try_advisory_lock($1::bigint) AS granted', [queue])).rows[0]
      .granted;
    if (isFirst !== true) return null; // Queued requests come first.
    try {
      return await this.#anyPermit(session, name, permits);
    } finally {
      await this.#leaveQueue(session, queue);
    }
  }

  async #anyPermit(session: Session, name: string, permits: number): Promise<EngineGrant | null> {
    const free = permitKeys(name, permits).filter((key) => !session.has(String(key)));
    const token = this.#hasTokens ? `nextval('${this.#token}')` : 'NULL';
    const { rows } = await this.#locking(
      session,
      `SELECT key, ${token} AS token FROM (SELECT key FROM unnest($1::bigint[]) AS key
       WHERE pg_try_advisory_lock(key) LIMIT 1) AS locked`,
      [free.map(String)],
    );
    if (rows.length === 0) return null;
    session.reserve(rows[0].key, false);
    return this.#grant(session, name, BigInt(rows[0].key), false, rows[0].token);
  }

  /** Queues by one lock; its holder looks for a permit. */
  async #waitForPermit(session: Session, request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    const { name, permits = 1 } = request;
    const queue = queueKeyOf(name);
    await this.#lock(session, queue, false, signal);
    try {
      while (!signal.aborted) {
        const granted = await this.#anyPermit(session, name, permits);
        if (granted !== null) return granted;
        await pause(PERMIT_MS, signal);
      }
      throw signal.reason;
    } finally {
      await this.#leaveQueue(session, queue.toString());
    }
  }

  /** Of a semaphore. Never rejects: what cannot be unlocked goes with the session. */
  async #leaveQueue(session: Session, queue: string): Promise<void> {
    await session
      .query('SELECT pg_advisory_unlock($1::bigint)', [queue])
      .catch((error) => session.end(messageOf(error)));
  }

  #grant(session: Session, name: string, key: PostgresKey, isShared: boolean, token: string | null): EngineGrant {
    const { schema, lossAfter } = this.options;
    return new PostgresGrant(this, session, { name, key, isShared, token, schema, lossAfter });
  }

  get #token(): string {
    return `${quoted(this.options.schema)}.token`.replaceAll("'", "''");
  }

  /** The control connection, probed. */
  async #connected(): Promise<Session> {
    const before = this.#control;
    const known = await before?.catch(() => undefined);
    if (known !== undefined && !known.isEnded) return known;
    if (this.#isClosed) throw new LockEngineError(undefined, 'the locks are closed');
    if (this.#control !== before) return this.#connected(); // Another request has opened one meanwhile.
    const opening = this.#open();
    this.#control = opening;
    opening.catch(() => {
      if (this.#control === opening) this.#control = undefined;
    });
    return opening;
  }

  async #open(): Promise<Session> {
    const open = async (): Promise<Session> => Session.open(await this.options.connect(), this.options.lossAfter);
    const session = await open();
    try {
      if (!this.#isProbed) await probe(session, open);
      this.#isProbed = true;
      await this.#prepare(session);
      return session;
    } catch (error) {
      session.end(messageOf(error));
      throw error;
    }
  }

  /** The schema, if there is one or it can be made; and from when on a lock may be granted (see `#grace`). */
  async #prepare(session: Session): Promise<void> {
    const { schema, lossAfter } = this.options;
    const exists = async (): Promise<boolean> =>
      (await session.query('SELECT to_regclass($1) IS NOT NULL AS there', [`${quoted(schema)}.epoch`])).rows[0].there;
    if (!(await exists())) await session.query(schemaSql(schema)).catch(() => {});
    this.#hasTokens = await exists();
    const { rows } = await session.query(
      'SELECT extract(epoch FROM now() - pg_postmaster_start_time()) * 1000 AS age, ' +
        'left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline',
    );
    let age = Number(rows[0].age);
    if (this.#hasTokens) {
      const epoch = `${quoted(schema)}.epoch`;
      await session.query(`INSERT INTO ${epoch} (timeline) VALUES ($1) ON CONFLICT DO NOTHING`, [rows[0].timeline]);
      const known = await session.query(
        `SELECT extract(epoch FROM now() - since) * 1000 AS age, (SELECT count(*) FROM ${epoch}) AS timelines
         FROM ${epoch} WHERE timeline = $1`,
        [rows[0].timeline],
      );
      // The first timeline that these locks ever saw is no failover.
      if (Number(known.rows[0].timelines) > 1) age = Math.min(age, Number(known.rows[0].age));
    }
    this.#mayGrantAt = monotonic() + Math.max(0, lossAfter - age);
  }

  /** After a restart or failover: holders of before may not have noticed yet that their locks are gone. */
  async #grace(): Promise<void> {
    const left = this.#mayGrantAt - monotonic();
    if (left > 0) await new Promise<void>((resolve) => setTimeout(resolve, left));
  }

  async #connection(signal: AbortSignal): Promise<Session> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      clearTimeout(idle.timer);
      if (!idle.session.isEnded) return idle.session;
    }
    // One is the control connection.
    while (this.#connections >= this.options.maxConnections - 1) {
      await new Promise<void>((resolve) => {
        this.#waitingForConnection.add(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      signal.throwIfAborted();
      const idle = this.#idle.pop();
      if (idle === undefined) continue;
      clearTimeout(idle.timer);
      return idle.session;
    }
    this.#connections++;
    try {
      const session = await Session.open(await this.options.connect(), this.options.lossAfter);
      session.client.once('end', () => this.#connections--);
      return session;
    } catch (error) {
      this.#connections--;
      throw error;
    }
  }

  #giveBack(session: Session): void {
    if (!session.isEnded && session.holds.size === 0) {
      if (this.#isClosed) session.end('closed');
      else {
        const close = (): void => {
          const i = this.#idle.findIndex((one) => one.session === session);
          if (i >= 0) this.#idle.splice(i, 1);
          session.end('idle');
        };
        this.#idle.push({ session, timer: unref(setTimeout(close, IDLE_MS)) });
      }
    }
    const [next] = this.#waitingForConnection;
    if (next === undefined) return;
    this.#waitingForConnection.delete(next);
    next();
  }

  #engineError({ name }: EngineRequest, error: unknown): unknown {
    const code = codeOf(error) ?? '';
    if (code.startsWith('ERR_LOCK_') || (error as Error)?.name === 'AbortError') return error;
    return new LockEngineError(name, `PostgreSQL does not serve it: ${messageOf(error)}`, error);
  }
}

function isFatal(error: unknown): boolean {
  const code = codeOf(error) ?? '';
  return code.startsWith('ERR_LOCK_') || (/^[0-9A-Z]{5}$/.test(code) && FATAL.test(code));
}

/**
 * The session that a process shares for all that does not wait: tries, releases, questions, cancellations. It is opened
 * when it is needed, probed once, and made anew when it ends.
 */
import type { Client } from 'pg';
import { LockClosedError, LockEngineError, messageOf } from '../errors.js';
import { Deadline, setTimeout } from '../timers.js';
import { probe } from './probe.js';
import { quoted, schemaSql, tokenSequence } from './schema.js';
import { Session } from './session.js';

export interface ControlOptions {
  readonly connect: () => Promise<Client>;
  readonly schema: string;
  readonly lossAfter: number;
}

export class Control {
  /** Whether the schema is there: tokens and records. */
  hasTokens = false;
  #session: Promise<Session> | undefined;
  #isProbed = false;
  /** See `grace`. */
  #grace = new Deadline(0);
  #isClosed = false;

  constructor(private readonly options: ControlOptions) {}

  /** The session as it is; undefined where there is none at the moment. */
  async known(): Promise<Session | undefined> {
    return this.#session?.catch(() => undefined);
  }

  async session(): Promise<Session> {
    const before = this.#session;
    const known = await before?.catch(() => undefined);
    if (known !== undefined && !known.isEnded) return known;
    if (this.#isClosed) throw new LockClosedError(undefined);
    if (this.#session !== before) return this.session(); // Another request has opened one meanwhile.
    const opening = this.#openProbed();
    this.#session = opening;
    opening.catch(() => {
      if (this.#session === opening) this.#session = undefined;
    });
    return opening;
  }

  /**
   * The session as it is or is made anew, on the server on which another one is: only there the numbers of processes, and
   * what is locked, are the same.
   * @throws that has reached another server; it is ended
   */
  async sessionBeside(other: Session): Promise<Session> {
    const control = await this.session();
    if (control.server === other.server) return control;
    const why = 'this connection has reached another server than those before or after it (a failover?)';
    other.end(why);
    throw new LockEngineError(undefined, why);
  }

  /** A further session. */
  async open(): Promise<Session> {
    return Session.open(await this.options.connect(), this.options.lossAfter);
  }

  /** After a restart or failover: holders of before may not have noticed yet that their locks are gone. */
  async grace(): Promise<void> {
    const { left } = this.#grace;
    if (left > 0) await new Promise<void>((resolve) => setTimeout(resolve, left));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const session = await this.known();
    if (session !== undefined && session.holds.size === 0) session.end('closed');
  }

  async #openProbed(): Promise<Session> {
    const session = await this.open();
    try {
      if (!this.#isProbed) await probe(session, () => this.open());
      this.#isProbed = true;
      await this.#prepare(session);
      return session;
    } catch (error) {
      session.end(messageOf(error));
      throw error;
    }
  }

  /** The schema, if there is one or it can be made; and from when on a lock may be granted (see `grace`). */
  async #prepare(session: Session): Promise<void> {
    const { schema, lossAfter } = this.options;
    const exists = async (): Promise<boolean> =>
      (await session.query('SELECT to_regclass($1) IS NOT NULL AS there', [`${quoted(schema)}.epoch`])).rows[0].there;
    if (!(await exists())) await session.query(schemaSql(schema)).catch(() => {});
    this.hasTokens = await exists();
    const { rows } = await session.query(
      'SELECT extract(epoch FROM now() - pg_postmaster_start_time()) * 1000 AS age, ' +
        'left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline',
    );
    let age = Number(rows[0].age);
    if (this.hasTokens) age = Math.min(age, await this.#ageOfTimeline(session, rows[0].timeline));
    this.#grace = new Deadline(Math.max(0, lossAfter - age));
  }

  /**
   * A timeline begins with a failover. One that lost the last transactions has lost the last tokens too, so the sequence
   * goes on from the time of day in ms, which no token of before was ahead of, unless there was more than one a
   * millisecond. In the statement that records the timeline: a process that sees the record may draw tokens after
   * `lossAfter`, so the sequence must be set by then, also if the process that sets it is stopped just there.
   */
  async #ageOfTimeline(session: Session, timeline: string): Promise<number> {
    const { schema } = this.options;
    const [epoch, token] = [`${quoted(schema)}.epoch`, `${quoted(schema)}.token`];
    await session
      .query(
        `WITH fresh AS (INSERT INTO ${epoch} (timeline) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1)
         SELECT setval('${tokenSequence(schema)}', greatest(last_value, (extract(epoch FROM clock_timestamp()) * 1000)::bigint))
         FROM ${token}, fresh`,
        [timeline],
      )
      // A role that may draw tokens but not set them (a schema of before 0.3): then they may go back after a failover.
      .catch(() => session.query(`INSERT INTO ${epoch} (timeline) VALUES ($1) ON CONFLICT DO NOTHING`, [timeline]));
    const known = await session.query(
      `SELECT extract(epoch FROM now() - since) * 1000 AS age, (SELECT count(*) FROM ${epoch}) AS timelines
       FROM ${epoch} WHERE timeline = $1`,
      [timeline],
    );
    // The first timeline that these locks ever saw is no failover.
    return Number(known.rows[0]?.timelines ?? 0) > 1 ? Number(known.rows[0].age) : Infinity;
  }
}

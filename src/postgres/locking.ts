/** The statements that lock, unlock and draw tokens, on one session. */

import { codeOf, messageOf } from '../errors.js';
import type { LockMode } from '../options.js';
import { clearInterval, setInterval, unref } from '../timers.js';
import type { Control } from './control.js';
import { type PostgresKey, parametersOf } from './keys.js';
import { tokenSequence } from './schema.js';
import type { Session } from './session.js';

/** The server's word for a statement that was cancelled. */
const CANCELLED = '57014';
/** How often, in ms, it is looked whether a wait still waits. */
const LOOK_MS = 3000;
/** So many statements in a row that are hit by one cancellation are not. */
const MOST_CANCELLED = 20;

/** A key that was locked, with the token that was drawn in the same statement. */
export interface Locked {
  readonly key: PostgresKey;
  readonly token: string | null;
}

export class Locking {
  /** Sessions that wait, and how many times in a row the server did not say so. */
  readonly #suspicious = new Map<Session, number>();
  #looks: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly control: Control,
    private readonly schema: string,
  ) {}

  /** How a statement draws a token, if there are tokens. */
  get nextToken(): string {
    if (!this.control.hasTokens) return 'NULL';
    return `nextval('${tokenSequence(this.schema)}')`;
  }

  /** Null: another session has it. */
  async try(session: Session, key: PostgresKey, mode: LockMode): Promise<Locked | null> {
    if (!session.reserve(String(key), mode === 'shared')) return null;
    const { text, values } = parametersOf(key);
    const attempt = `pg_try_advisory_lock${suffix(mode)}(${text})`;
    try {
      const { rows } = await session.query(
        `SELECT granted, CASE WHEN granted THEN ${this.nextToken} END AS token
         FROM (SELECT ${attempt} AS granted OFFSET 0) AS tried`,
        values,
        'answers',
        this.#named('try', key, mode),
      );
      if (rows[0].granted === true) return { key, token: rows[0].token };
    } catch (error) {
      await this.undo(session, key, mode);
      throw error;
    }
    session.unreserve(String(key));
    return null;
  }

  /** Waits in the server's queue. Aborted: nothing stays locked. */
  async wait(session: Session, key: PostgresKey, mode: LockMode, signal: AbortSignal): Promise<Locked> {
    const { text, values } = parametersOf(key);
    let cancelling: Promise<unknown> | undefined;
    const cancel = (): void => {
      // From another connection; should it come too late, the lock that was granted is unlocked below.
      cancelling = this.control
        .sessionBeside(session)
        .then((control) => control.query('SELECT pg_cancel_backend($1)', [session.pid]))
        .catch((error) => session.end(messageOf(error)));
    };
    signal.addEventListener('abort', cancel, { once: true });
    const endLook = this.#look(session);
    try {
      const { rows } = await session.query(
        `WITH locked AS MATERIALIZED (SELECT pg_advisory_lock${suffix(mode)}(${text}))
         SELECT ${this.nextToken} AS token FROM locked`,
        values,
        'waits',
        this.#named('wait', key, mode),
      );
      if (signal.aborted) throw signal.reason;
      session.reserve(String(key), mode === 'shared');
      return { key, token: rows[0].token };
    } catch (error) {
      // Once it was sent: it must not hit the next wait of this session.
      if (signal.aborted) await cancelling;
      await this.#unlockForSure(session, key, mode);
      throw error;
    } finally {
      endLook();
      signal.removeEventListener('abort', cancel);
    }
  }

  /**
   * A statement that has locked may fail after that, for want of a token: the lock stays with the session then. It is
   * given back alone, since the session holds others. Not where the session has the key more often than once: which of
   * them was locked by that statement cannot be told, so the session ends.
   */
  async undo(session: Session, key: PostgresKey, mode: LockMode): Promise<void> {
    const isOnlyOne = session.count(String(key)) <= 1;
    session.unreserve(String(key));
    if (isOnlyOne) await this.#unlockForSure(session, key, mode);
    else session.end('it cannot be told what the session has locked');
  }

  /** Never rejects: what cannot be unlocked goes with the session. */
  async unlock(session: Session, key: PostgresKey, mode: LockMode): Promise<void> {
    const { text, values } = parametersOf(key);
    const name = this.#named('unlock', key, mode);
    const unlocking = session.query(`SELECT pg_advisory_unlock${suffix(mode)}(${text})`, values, 'answers', name);
    // Statements of a session are executed in order: a try that is sent from now on finds it unlocked.
    session.unreserve(String(key));
    await unlocking.catch((error) => session.end(messageOf(error)));
  }

  /** Of a statement. With tokens it is another one. */
  #named(what: string, key: PostgresKey, mode: LockMode): string {
    return `fairlock ${what}${suffix(mode)} ${typeof key === 'bigint' ? 'one' : 'pair'} ${this.control.hasTokens}`;
  }

  /** The cancellation of a wait may hit the statement after it: so until one is answered. */
  async #unlockForSure(session: Session, key: PostgresKey, mode: LockMode): Promise<void> {
    const { text, values } = parametersOf(key);
    for (let tries = 0; !session.isEnded; tries++) {
      try {
        await session.query(`SELECT pg_advisory_unlock${suffix(mode)}(${text})`, values);
        // A cancellation that is still under way finds this one, not the next owner's.
        await session.query('SELECT 1');
        return;
      } catch (error) {
        if (codeOf(error) !== CANCELLED || tries === MOST_CANCELLED) session.end(messageOf(error));
      }
    }
  }

  /**
   * A connection that is silently dead (its bytes are swallowed) hears of no grant: 1. A waits for a lock. 2. A's
   * connection dies, and neither end knows. 3. The server grants the lock to A's session, and its answer is lost: no
   * process works under the lock, and A waits for ever. So it is asked, by another connection, whether the session
   * still waits; one that does not, twice in a row, and has not told so, is ended on both sides.
   */
  #look(session: Session): () => void {
    this.#suspicious.set(session, 0);
    // One timer for all waits, which ends itself: to make one for each takes as long as much else that a wait does.
    this.#looks ??= unref(setInterval(() => this.#lookAtAll(), LOOK_MS));
    return () => this.#suspicious.delete(session);
  }

  #lookAtAll(): void {
    for (const session of this.#suspicious.keys()) void this.#lookAt(session).catch(() => {});
    if (this.#suspicious.size > 0) return;
    clearInterval(this.#looks);
    this.#looks = undefined;
  }

  async #lookAt(session: Session): Promise<void> {
    const control = await this.control.sessionBeside(session);
    const { rows } = await control.query(
      `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted) AS waits`,
      [session.pid],
    );
    const before = this.#suspicious.get(session);
    if (before === undefined) return; // It has been granted meanwhile.
    this.#suspicious.set(session, rows[0].waits === true ? 0 : before + 1);
    if (rows[0].waits === true || before === 0 || session.isEnded) return;
    session.end('the server does not answer on this connection');
    await control.query('SELECT pg_terminate_backend($1)', [session.pid]);
  }
}

function suffix(mode: LockMode): string {
  return mode === 'shared' ? '_shared' : '';
}

/** One connection. What it has locked, it holds as long as it lives. */
import { hostname } from 'node:os';
import type { Client, QueryResult } from 'pg';
import { elapsed, type Moment, now } from '../engine/elapsed.js';
import { hasHungUp } from '../engine/hung-up.js';
import { LockEngineError, messageOf } from '../errors.js';
import { clearTimeout, setTimeout, unref } from '../timers.js';

const BEAT_MS = 3000;
/** A deadline that is itself late (the process was stopped) asks once more, and waits so long. */
const LATE_MS = 2000;

/** Statements must not be cut short, and both ends must notice that the other one is gone. */
const SETTINGS = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  synchronous_commit: 'on',
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '2',
  tcp_keepalives_count: '4',
  tcp_user_timeout: '15000',
  client_connection_check_interval: '2000',
};

/** What is to be told when the connection is lost. */
export interface SessionHold {
  lost(why: string): void;
}

// biome-ignore lint/suspicious/noExplicitAny: rows are what the statement makes them
type Rows = QueryResult<any>;

interface Statement {
  readonly config: { name?: string; text: string; values: unknown[] };
  readonly kind: 'answers' | 'waits';
  resolve(rows: Rows): void;
  reject(error: unknown): void;
}

export class Session {
  /** The server's process. */
  pid = 0;
  /** Which server it is: since when it runs. */
  server = '';
  /** When the last query that was answered was sent: the session lived then. */
  lastAnswered: Moment = now();
  isEnded = false;
  readonly holds = new Set<SessionHold>();
  /** Advisory keys that it has locked or tries to lock, and how often. */
  readonly #keys = new Map<string, { count: number; isShared: boolean }>();
  #beat: ReturnType<typeof setTimeout> | undefined;
  /** Sent one after the other: the first of them is under way. */
  readonly #statements: Statement[] = [];
  readonly #endListeners: (() => void)[] = [];

  private constructor(
    readonly client: Client,
    private readonly lossAfter: number,
  ) {
    streamOf(client).unref?.(); // What keeps the process alive is a wait, not a connection.
    client.on('error', (error) => this.end(messageOf(error)));
    client.on('end', () => this.end('the connection ended'));
  }

  static async open(client: Client, lossAfter: number): Promise<Session> {
    const session = new Session(client, lossAfter);
    try {
      // Only those that this server knows.
      const names = Object.keys(SETTINGS);
      await session.query(
        `SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) AS s(name, value)
         JOIN pg_settings USING (name) WHERE pg_settings.context = 'user'`,
        [names, Object.values(SETTINGS)],
      );
      const application = `fairlock ${process.pid}@${hostname()}`.slice(0, 63);
      const { rows } = await session.query(
        "SELECT pg_backend_pid() AS pid, pg_postmaster_start_time()::text AS server, set_config('application_name', $1, false)",
        [application],
      );
      session.pid = rows[0].pid;
      session.server = rows[0].server;
      return session;
    } catch (error) {
      session.end(messageOf(error));
      throw error;
    }
  }

  /**
   * Statements are sent one after the other, in the order of the calls. One that is not answered within `lossAfter` ends
   * the session: the connection may be dead without either end knowing.
   * @param kind `'waits'`: it may take as long as it takes, for a lock
   * @param name of a statement that is sent again and again: the server keeps it, parsed, with this connection
   */
  query(text: string, values: unknown[] = [], kind: 'answers' | 'waits' = 'answers', name?: string): Promise<Rows> {
    return new Promise((resolve, reject) => {
      if (this.isEnded) return reject(new Error('the connection ended'));
      const config = name === undefined ? { text, values } : { name, text, values };
      this.#statements.push({ config, kind, resolve, reject });
      if (this.#statements.length === 1) this.#send(this.#statements[0] as Statement);
    });
  }

  #send(statement: Statement): void {
    const sent = now();
    const timer = statement.kind === 'waits' ? undefined : setTimeout(() => this.#giveUp(statement), this.lossAfter);
    this.client.query(statement.config, (error: unknown, result: Rows) => {
      clearTimeout(timer);
      // Ended meanwhile, it has rejected.
      if (this.#statements[0] !== statement) return;
      this.#statements.shift();
      if (error) statement.reject(error);
      else {
        this.lastAnswered = sent;
        statement.resolve(result);
      }
      const [next] = this.#statements;
      if (next !== undefined) this.#send(next);
    });
  }

  #giveUp({ reject }: Statement): void {
    if (this.isEnded) return;
    const why = `the server has not answered within ${this.lossAfter} ms`;
    reject(new LockEngineError(undefined, why));
    this.end(why);
  }

  /** Calls back when it has ended: at once, if it has. */
  onEnd(callback: () => void): void {
    if (this.isEnded) callback();
    else this.#endListeners.push(callback);
  }

  /**
   * A session may lock a key twice: to the server it does not conflict with itself. False: it has the key in a way that
   * excludes this one.
   */
  reserve(key: string, isShared: boolean): boolean {
    const known = this.#keys.get(key);
    if (known !== undefined && !(known.isShared && isShared)) return false;
    this.#keys.set(key, { count: (known?.count ?? 0) + 1, isShared });
    return true;
  }

  unreserve(key: string): void {
    const known = this.#keys.get(key);
    if (known === undefined || --known.count > 0) return;
    this.#keys.delete(key);
  }

  /** How often it has locked a key, or tries to. */
  count(key: string): number {
    return this.#keys.get(key)?.count ?? 0;
  }

  hold(hold: SessionHold): void {
    this.holds.add(hold);
    if (this.#beat === undefined) this.#beatLater();
  }

  drop(hold: SessionHold): void {
    this.holds.delete(hold);
    if (this.holds.size > 0) return;
    clearTimeout(this.#beat);
    this.#beat = undefined;
  }

  /** Closes it, and with it all that it holds. */
  end(why: string): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const error = new LockEngineError(undefined, `the connection to PostgreSQL ended: ${why}`);
    for (const { reject } of this.#statements.splice(0)) reject(error);
    for (const listener of this.#endListeners.splice(0)) listener();
    clearTimeout(this.#beat);
    for (const hold of [...this.holds]) hold.lost(why);
    this.holds.clear();
    this.client.end().catch(() => {});
    // `end` says goodbye first, which may take for ever where the network is gone.
    unref(setTimeout(() => streamOf(this.client).destroy(), LATE_MS));
  }

  /** Looks whether the connection was closed meanwhile: the kernel knows it before the event loop does. */
  look(): void {
    if (!this.isEnded && hasHungUp(streamOf(this.client))) this.end('the connection was closed');
  }

  #beatLater(): void {
    const due = now();
    this.#beat = unref(
      setTimeout(() => {
        const late = elapsed(due) > BEAT_MS + LATE_MS;
        this.query('SELECT 1').catch((error) => this.end(messageOf(error)));
        this.#beatLater();
        const overdue = elapsed(this.lastAnswered) - this.lossAfter;
        if (overdue < 0) return;
        // The process may have been stopped, and the session live: the answer decides.
        if (late) unref(setTimeout(() => this.#endIfOverdue(), LATE_MS));
        else this.#endIfOverdue();
      }, BEAT_MS),
    );
  }

  #endIfOverdue(): void {
    if (elapsed(this.lastAnswered) < this.lossAfter) return;
    this.end(`the server has not answered for ${this.lossAfter} ms`);
    streamOf(this.client).destroy();
  }
}

interface Stream {
  destroy(): void;
  unref?(): void;
}

export function streamOf(client: Client): Stream {
  const { connection } = client as unknown as { connection?: { stream?: Stream } };
  return connection?.stream ?? { destroy() {} };
}

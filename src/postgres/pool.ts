/**
 * Connections on which requests wait in the server's queue, and which hold what was granted there: at most so many. A
 * request that waits for one has a place in line, which it leaves when it is aborted: no other place is used up with it.
 *
 *     take ─▶ [ waiting: first … last ] ─▶ session ──giveBack──▶ idle
 *                     └──── abort            └──── ended ────▶ (room for another)
 */
import { clearTimeout, setTimeout, unref } from '../timers.js';
import type { Session } from './session.js';

/** A connection without locks is closed after so many ms. */
const IDLE_MS = 30_000;

interface Waiting {
  readonly signal: AbortSignal;
  resolve(session: Session): void;
  reject(error: unknown): void;
}

export class Pool {
  readonly #idle: { session: Session; timer: ReturnType<typeof setTimeout> }[] = [];
  readonly #waiting = new Set<Waiting>();
  #connections = 0;
  #isClosed = false;

  constructor(
    private readonly open: () => Promise<Session>,
    private readonly most: number,
  ) {}

  /** One that waits for its next use; undefined if there is none. Requests that wait for one have taken it already. */
  takeIdle(): Session | undefined {
    const idle = this.#idle.pop();
    clearTimeout(idle?.timer);
    return idle?.session;
  }

  /** @throws the reason of the signal; what keeps a connection from being made */
  take(signal: AbortSignal): Promise<Session> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason);
      };
      const done = (): void => signal.removeEventListener('abort', abort);
      const waiting: Waiting = {
        signal,
        resolve: (session) => {
          done();
          resolve(session);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      if (signal.aborted) return reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.add(waiting);
      this.#serve();
    });
  }

  /** A session that holds nothing any more; one that has ended needs not be given back. */
  giveBack(session: Session): void {
    if (session.isEnded || session.holds.size > 0) return;
    if (this.#isClosed) return session.end('closed');
    const close = (): void => session.end('idle');
    this.#idle.push({ session, timer: unref(setTimeout(close, IDLE_MS)) });
    this.#serve();
  }

  /** What is held stays, until it is given back. */
  close(): void {
    this.#isClosed = true;
    for (const { session } of [...this.#idle]) session.end('closed');
  }

  #serve(): void {
    for (const waiting of this.#waiting) {
      const session = this.takeIdle();
      if (session === undefined && this.#connections >= this.most) return;
      this.#waiting.delete(waiting);
      if (session !== undefined) waiting.resolve(session);
      else this.#openFor(waiting);
    }
  }

  #openFor(waiting: Waiting): void {
    this.#connections++;
    const ended = (): void => {
      this.#connections--;
      this.#serve();
    };
    this.open().then(
      (session) => {
        session.onEnd(() => {
          const i = this.#idle.findIndex((one) => one.session === session);
          if (i >= 0) clearTimeout(this.#idle.splice(i, 1)[0]?.timer);
          ended();
        });
        // Aborted meanwhile, it has rejected: the session is the next one's.
        if (waiting.signal.aborted) this.giveBack(session);
        else waiting.resolve(session);
      },
      (error) => {
        ended();
        waiting.reject(error);
      },
    );
  }
}

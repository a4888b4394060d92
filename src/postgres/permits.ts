/** Semaphores: an advisory lock for each permit, and one more that is their queue. */
import type { EngineRequest } from '../engine/engine.js';
import { pause } from '../engine/retry.js';
import { permitKeys, queueKeyOf } from './keys.js';
import type { Locked, Locking } from './locking.js';
import type { Session } from './session.js';

/** How often, in ms, the first waiter of a semaphore looks for a free permit. */
const PERMIT_MS = 50;

export class Permits {
  /** One try at a time for a name: two on one session would not exclude each other. */
  readonly #tries = new Map<string, Promise<unknown>>();

  constructor(private readonly locking: Locking) {}

  /** Null: none is free, or requests are queued, which come first. */
  async try(session: Session, request: EngineRequest): Promise<Locked | null> {
    const { name } = request;
    const before = this.#tries.get(name) ?? Promise.resolve();
    const trying = before.then(() => this.#tryAlone(session, request));
    const settled = trying.catch(() => {});
    this.#tries.set(name, settled);
    await settled;
    if (this.#tries.get(name) === settled) this.#tries.delete(name);
    return trying;
  }

  /** Queues by one lock; its holder looks for a permit. */
  async wait(session: Session, request: EngineRequest, signal: AbortSignal): Promise<Locked> {
    const queue = queueKeyOf(request.name);
    await this.locking.wait(session, queue, 'exclusive', signal);
    try {
      while (!signal.aborted) {
        const locked = await this.#any(session, request);
        if (locked !== null) return locked;
        await pause(PERMIT_MS, signal);
      }
      throw signal.reason;
    } finally {
      await this.locking.unlock(session, queue, 'exclusive');
    }
  }

  async #tryAlone(session: Session, request: EngineRequest): Promise<Locked | null> {
    const queue = await this.locking.try(session, queueKeyOf(request.name), 'exclusive');
    if (queue === null) return null;
    try {
      return await this.#any(session, request);
    } finally {
      await this.locking.unlock(session, queue.key, 'exclusive');
    }
  }

  /** Of the permits that this session does not hold itself: a session may lock a key twice. */
  async #any(session: Session, { name, permits = 1 }: EngineRequest): Promise<Locked | null> {
    const free = permitKeys(name, permits).filter((key) => session.count(String(key)) === 0);
    try {
      const { rows } = await session.query(
        `SELECT key, ${this.locking.nextToken} AS token FROM (SELECT key FROM unnest($1::bigint[]) AS key
         WHERE pg_try_advisory_lock(key) LIMIT 1) AS locked`,
        [free.map(String)],
      );
      if (rows.length === 0) return null;
      session.reserve(rows[0].key, false);
      return { key: BigInt(rows[0].key), token: rows[0].token };
    } catch (error) {
      // One of them may be locked, for want of a token: none of them was held by this session before.
      for (const key of free) await this.locking.undo(session, key, 'exclusive');
      throw error;
    }
  }
}

/** The requests of this process that Redis knows: kept alive, told of their grants, and of their loss. */
import { elapsed, type Moment, now } from '../engine/elapsed.js';
import { clearInterval, clearTimeout, setInterval, setTimeout, unref } from '../timers.js';

/** A request from its first moment to its release. It belongs to the engine that made it; the renewals are here. */
export interface Entry {
  readonly id: string;
  readonly keys: readonly string[];
  readonly permits: number;
  /** When the last renewal that was answered was sent: the server counts from a later moment. */
  renewed: Moment;
  /** Its token; undefined: it waits. */
  token: number | undefined;
  /** The server has granted it. Called once. */
  acquired(token: number): void;
  /** The server does not know it any more, or it was not renewed in time. */
  lost(why: string): void;
  /** Nothing but time can change that it waits, for so many ms. */
  blocked(ms: number): void;
}

/** The state of each, in the same order: its token, 0: it waits, -1: it is gone; and for how long it is blocked. */
type Renew = (
  keys: readonly string[],
  permits: number,
  ids: readonly string[],
) => Promise<{ states: number[]; blocked: number }>;

export class Sessions {
  readonly #entries = new Map<string, Entry>();
  #renewing: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly ttl: number,
    private readonly renew: Renew,
  ) {}

  add(entry: Entry): void {
    this.#entries.set(entry.id, entry);
    this.#renewing ??= unref(setTimeout(() => this.#renewAll(), this.ttl / 5));
    this.#watch ??= unref(setInterval(() => this.#lookAtClock(), this.ttl / 30));
  }

  remove({ id }: Entry): void {
    this.#entries.delete(id);
  }

  /** A message: the id, and its token or 0. */
  told(message: string): void {
    const [id = '', token = ''] = message.split(' ');
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    if (Number(token) > 0) this.#acquired(entry, Number(token));
    else if (entry.token === undefined) entry.blocked(0);
  }

  isLate(entry: Entry): boolean {
    return elapsed(entry.renewed) >= (this.ttl * 2) / 3;
  }

  async renewOne(entry: Entry): Promise<void> {
    await this.#renewSome([entry]);
  }

  close(): void {
    clearTimeout(this.#renewing);
    clearInterval(this.#watch);
    this.#renewing = undefined;
    this.#watch = undefined;
  }

  #acquired(entry: Entry, token: number): void {
    if (entry.token !== undefined) return;
    entry.token = token;
    entry.acquired(token);
  }

  #renewAll(): void {
    // Not with the last release: the next request comes soon, and would begin anew.
    if (this.#entries.size === 0) return this.close();
    const byLock = new Map<string, Entry[]>();
    for (const entry of this.#entries.values()) {
      const key = entry.keys[0] as string;
      byLock.set(key, [...(byLock.get(key) ?? []), entry]);
    }
    const outcomes = [...byLock.values()].map((some) =>
      this.#renewSome(some).then(
        () => true,
        () => false,
      ),
    );
    void Promise.all(outcomes).then((well) => {
      if (this.#watch === undefined) return; // Closed.
      const delay = well.every(Boolean) ? this.ttl / 5 : this.ttl / 20;
      this.#renewing = unref(setTimeout(() => this.#renewAll(), delay));
    });
  }

  async #renewSome(entries: readonly Entry[]): Promise<void> {
    const [first] = entries;
    if (first === undefined) return;
    const sent = now();
    const { states, blocked } = await this.renew(
      first.keys,
      first.permits,
      entries.map(({ id }) => id),
    );
    for (const [i, entry] of entries.entries()) {
      if (this.#entries.get(entry.id) !== entry) continue;
      const state = states[i] ?? -1;
      if (state < 0) {
        this.remove(entry);
        entry.lost('Redis does not know it any more');
        continue;
      }
      entry.renewed = sent;
      if (state > 0) this.#acquired(entry, state);
      else if (blocked > 0) entry.blocked(blocked);
    }
  }

  #lookAtClock(): void {
    for (const entry of this.#entries.values()) {
      if (!this.isLate(entry)) continue;
      this.remove(entry);
      entry.lost(`it was not renewed for ${Math.round((this.ttl * 2) / 3)} ms`);
    }
  }
}

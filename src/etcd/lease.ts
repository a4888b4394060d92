/** The lease of this process: all its keys go with it. */
import { elapsed, type Moment, now } from '../engine/elapsed.js';
import { messageOf } from '../errors.js';
import { clearTimeout, setTimeout, unref } from '../timers.js';
import type { Connection } from './connection.js';

const RETRY_MS = [100, 200, 400, 800, 1000];

export class Lease {
  /** When the last renewal that was answered was sent: etcd counts the time to live from a later moment. */
  #renewed: Moment;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #ended: string | undefined;
  readonly #listeners = new Set<(why: string) => void>();

  private constructor(
    private readonly connection: Connection,
    readonly id: string,
    private readonly ttl: number,
    sent: Moment,
  ) {
    this.#renewed = sent;
    this.#renewLater(ttl / 5);
    this.#watchDeadline();
  }

  static async grant(connection: Connection, ttl: number): Promise<Lease> {
    const sent = now();
    const request = { TTL: Math.ceil(ttl / 1000) };
    const { ID, error } = await connection.call<{ ID: string; error: string }>('Lease', 'LeaseGrant', request);
    if (error) throw new Error(error);
    return new Lease(connection, ID, ttl, sent);
  }

  get hex(): string {
    return BigInt.asUintN(64, BigInt(this.id)).toString(16);
  }

  /** Why it is over, if it is, or may be by this machine's clock: after two thirds of its time without an answer. */
  get ended(): string | undefined {
    if (this.#ended === undefined && elapsed(this.#renewed) >= (this.ttl * 2) / 3) {
      this.end(`the lease was not renewed for ${Math.round((this.ttl * 2) / 3)} ms`);
    }
    return this.#ended;
  }

  /** By when etcd has let go of it, whatever happens. */
  get isOver(): boolean {
    return elapsed(this.#renewed) > this.ttl + 2000;
  }

  onEnd(listener: (why: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    for (const listener of [...this.#listeners]) listener(why);
    this.#listeners.clear();
  }

  async revoke(): Promise<void> {
    this.end('the lease was given back');
    await this.connection.call('Lease', 'LeaseRevoke', { ID: this.id }).catch(() => {});
  }

  #renewLater(ms: number): void {
    this.#timer = unref(
      setTimeout(() => {
        this.#renew().then(
          () => {
            this.#failures = 0;
            if (this.#ended === undefined) this.#renewLater(this.ttl / 5);
          },
          () => {
            if (this.#ended === undefined) this.#renewLater(RETRY_MS[Math.min(this.#failures++, 4)] as number);
          },
        );
      }, ms),
    );
  }

  /** A stream for each renewal: one that stays open would keep the process alive. */
  async #renew(): Promise<void> {
    const sent = now();
    type Answer = { TTL: string };
    const stream = await this.connection.stream<{ ID: string }, Answer>('lease', 'Lease', 'LeaseKeepAlive');
    const limit = unref(setTimeout(() => stream.cancel(), this.ttl / 5));
    try {
      const answer = await new Promise<Answer>((resolve, reject) => {
        stream.once('data', resolve);
        stream.once('error', reject);
        stream.once('end', () => reject(new Error('no answer')));
        stream.write({ ID: this.id });
      });
      if (Number(answer.TTL) <= 0) this.end('etcd has ended the lease');
      else this.#renewed = sent;
    } catch (error) {
      this.connection.broken('lease', error);
      throw new Error(messageOf(error));
    } finally {
      clearTimeout(limit);
      stream.on('error', () => {}); // Of the end.
      stream.end();
    }
  }

  #watchDeadline(): void {
    const left = (this.ttl * 2) / 3 - elapsed(this.#renewed);
    this.#deadline = unref(
      setTimeout(
        () => {
          if (this.ended === undefined) this.#watchDeadline();
        },
        Math.max(1, left),
      ),
    );
  }
}

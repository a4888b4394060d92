/** Watches on keys, over one stream that is made anew when it breaks. */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { clearTimeout, setTimeout } from '../timers.js';
import { type Connection, isTokenTooOld } from './connection.js';
import { DELETED, NO_PUT, type WatchResponse } from './rpc.js';

const AGAIN_MS = 100;
/** The stream is kept for the next watch for so many ms: it costs etcd more than a watch. It keeps the process alive. */
const LINGER_MS = 50;

export interface Watch {
  readonly key: Buffer;
  readonly end: Buffer | undefined;
  readonly seen: (has: Seen, keys: readonly Buffer[]) => void;
}

/**
 * Begun: something may have been deleted before; said each time that the stream was made anew. Deleted: the keys were.
 * Ended: the stream broke, or etcd has ended the watch; it begins again.
 */
export type Seen = 'begun' | 'deleted' | 'ended';

export class Watcher {
  readonly #watches = new Map<number, Watch>();
  #stream: ClientDuplexStream<object, WatchResponse> | undefined;
  #isOpening = false;
  #again: ReturnType<typeof setTimeout> | undefined;
  #lingering: ReturnType<typeof setTimeout> | undefined;
  #ids = 0;
  #unanswered: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly connection: Connection) {}

  /** From now on, never from a past revision: etcd serves such watches by a loop of 100 ms. Returns what ends it. */
  watch(key: Buffer, seen: Watch['seen'], end?: Buffer): () => void {
    const id = ++this.#ids;
    const watch = { key, end, seen };
    this.#watches.set(id, watch);
    if (this.#stream !== undefined) this.#create(id, watch);
    else void this.#open();
    return () => {
      if (!this.#watches.delete(id)) return;
      this.#stream?.write({ cancel_request: { watch_id: id } });
      if (this.#watches.size > 0) return;
      clearTimeout(this.#lingering);
      this.#lingering = setTimeout(() => this.close(), LINGER_MS);
    };
  }

  async #open(): Promise<void> {
    if (this.#isOpening || this.#stream !== undefined) return;
    this.#isOpening = true;
    try {
      const stream = await this.connection.stream<object, WatchResponse>('watch', 'Watch', 'Watch');
      const broken = (error?: unknown): void => {
        if (this.#stream !== stream) return;
        clearTimeout(this.#unanswered);
        this.#stream = undefined;
        this.connection.broken('watch', error);
        for (const watch of [...this.#watches.values()]) watch.seen('ended', []);
        this.#openLater();
      };
      stream.on('error', broken);
      stream.on('end', () => broken());
      const giveUp = (error?: unknown): void => {
        broken(error);
        stream.cancel();
      };
      stream.on('data', (response: WatchResponse) => {
        clearTimeout(this.#unanswered);
        // etcd ends a watch by such an answer too, and the stream goes on.
        if (response.canceled && isTokenTooOld(response.cancel_reason)) return giveUp(response.cancel_reason);
        const id = Number(response.watch_id);
        const watch = this.#watches.get(id);
        if (watch === undefined) return;
        const deleted = response.events.filter(({ type }) => type === DELETED).map(({ kv }) => kv.key);
        if (deleted.length > 0) watch.seen('deleted', deleted);
        if (response.canceled) this.#beginAgain(id, watch);
        else if (response.created) watch.seen('begun', []);
      });
      if (this.#watches.size === 0) return stream.cancel();
      this.#stream = stream;
      // An endpoint that takes connections and answers nothing.
      this.#unanswered = setTimeout(giveUp, this.connection.callTimeout);
      for (const [id, watch] of this.#watches) this.#create(id, watch);
    } catch {
      this.#openLater();
    } finally {
      this.#isOpening = false;
    }
  }

  #beginAgain(id: number, watch: Watch): void {
    watch.seen('ended', []);
    setTimeout(() => {
      if (this.#watches.get(id) === watch) this.#create(id, watch);
    }, AGAIN_MS);
  }

  #openLater(): void {
    clearTimeout(this.#again);
    if (this.#watches.size === 0 || this.connection.isClosed) return;
    this.#again = setTimeout(() => void this.#open(), AGAIN_MS);
  }

  #create(id: number, { key, end }: Watch): void {
    const request = { key, range_end: end ?? Buffer.alloc(0), filters: [NO_PUT], watch_id: id };
    this.#stream?.write({ create_request: request });
  }

  /** Unless there is a new watch. */
  close(): void {
    if (this.#watches.size > 0) return;
    clearTimeout(this.#lingering);
    clearTimeout(this.#again);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    clearTimeout(this.#unanswered);
  }
}

/** A key, which is bytes, as a key of a Map. */
export function nameOf(key: Buffer): string {
  return key.toString('latin1');
}

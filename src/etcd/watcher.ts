/** Watches on keys, over one stream that is made anew when it breaks. */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { clearTimeout, setTimeout } from '../timers.js';
import type { Connection } from './connection.js';
import { DELETED, NO_PUT, type WatchResponse } from './rpc.js';

const AGAIN_MS = 100;

interface Watch {
  readonly key: Buffer;
  readonly end: Buffer | undefined;
  /** Something may have been deleted: also said once the watch has begun, and each time the stream was made anew. */
  readonly changed: () => void;
}

export class Watcher {
  readonly #watches = new Map<number, Watch>();
  #stream: ClientDuplexStream<object, WatchResponse> | undefined;
  #isOpening = false;
  #again: ReturnType<typeof setTimeout> | undefined;
  #ids = 0;

  constructor(private readonly connection: Connection) {}

  /** From now on, never from a past revision: etcd serves such watches by a loop of 100 ms. Returns what ends it. */
  watch(key: Buffer, changed: () => void, end?: Buffer): () => void {
    const id = ++this.#ids;
    const watch = { key, end, changed };
    this.#watches.set(id, watch);
    if (this.#stream !== undefined) this.#create(id, watch);
    else void this.#open();
    return () => {
      if (!this.#watches.delete(id)) return;
      if (this.#watches.size === 0) this.#close();
      else this.#stream?.write({ cancel_request: { watch_id: id } });
    };
  }

  async #open(): Promise<void> {
    if (this.#isOpening || this.#stream !== undefined) return;
    this.#isOpening = true;
    try {
      const stream = await this.connection.stream<object, WatchResponse>('Watch', 'Watch');
      const broken = (): void => {
        if (this.#stream !== stream) return;
        this.#stream = undefined;
        this.connection.broken();
        this.#openLater();
      };
      stream.on('error', broken);
      stream.on('end', broken);
      stream.on('data', (response: WatchResponse) => {
        const watch = this.#watches.get(Number(response.watch_id));
        if (response.created || response.canceled || response.events.some(({ type }) => type === DELETED))
          watch?.changed();
      });
      if (this.#watches.size === 0) return stream.cancel();
      this.#stream = stream;
      for (const [id, watch] of this.#watches) this.#create(id, watch);
    } catch {
      this.#openLater();
    } finally {
      this.#isOpening = false;
    }
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

  #close(): void {
    clearTimeout(this.#again);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
  }
}

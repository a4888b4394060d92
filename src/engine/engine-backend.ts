/**
 * An engine as one more backend behind the queue: its try is asynchronous, its grant may be handed on in this process.
 */
import { channel } from 'node:diagnostics_channel';
import type { Backend, Capabilities, Done, Grant, Inspection, PendingAcquire } from '../core/backend.js';
import type { FifoQueue } from '../core/fifo-queue.js';
import { keepingAlive } from '../keep-alive.js';
import { succeeds } from '../quietly.js';
import type { Engine, EngineGrant, EngineRequest } from './engine.js';

/** Told of each error of a lock service for which a wait goes on, and of `undefined` when the service serves again. */
const outages = channel('fairlock:outage');

const CAPABILITIES: Capabilities = {
  layers: { lock: 'none', wait: 'none' },
  fairness: 'fifo',
  answersAtOnce: false,
  isSemaphore: false,
};

/** A grant as the core knows it. */
export class EngineHold implements Grant {
  readonly fd = undefined;
  #released: Promise<void> | undefined;

  constructor(
    readonly engineGrant: EngineGrant,
    /** How many local holds in a row it has served, this one included. */
    readonly holds: number,
    private readonly backend: EngineBackend,
  ) {}

  /** Resolves when the engine has released it, or it was handed to the next local holder. */
  get released(): Promise<void> {
    return this.#released ?? Promise.resolve();
  }

  unlock(): void {
    this.#released = this.backend.unlock(this);
  }

  check(): void {
    this.engineGrant.check();
  }

  watch(onLoss: (error: Error) => void): () => void {
    return this.engineGrant.onLost(onLoss);
  }
}

export class EngineBackend implements Backend {
  readonly name = undefined;
  readonly capabilities: Capabilities;
  /** Released by its local holder, and kept for the next one. */
  #parked: EngineHold | undefined;

  constructor(
    private readonly engine: Engine,
    private readonly lockName: string,
    private readonly queue: FifoQueue,
    private readonly permits: number | undefined,
    /** How many times in a row a grant is handed to the next local waiter. */
    private readonly handOver: number,
  ) {
    this.capabilities = { ...CAPABILITIES, isSemaphore: permits !== undefined };
  }

  async tryAcquire(mode: EngineRequest['mode']): Promise<Grant | null> {
    const granted = await keepingAlive(this.engine.tryAcquire(this.#request(mode)));
    return granted === null ? null : new EngineHold(granted, 1, this);
  }

  request(mode: EngineRequest['mode']): PendingAcquire {
    const controller = new AbortController();
    let isOver = false;
    let trouble: unknown;
    const end = (done: Done, error: unknown, grant?: Grant): void => {
      if (isOver) return grant?.unlock();
      isOver = true;
      done(error, grant);
    };
    return {
      get trouble() {
        return trouble;
      },
      start: (done) => {
        const parked = this.#takeParked(mode);
        if (parked !== undefined) return end(done, undefined, parked);
        keepingAlive(
          this.engine.acquire(this.#request(mode), controller.signal, (error) => {
            const isNews = error !== undefined || trouble !== undefined;
            trouble = error;
            if (isNews && outages.hasSubscribers)
              outages.publish({ engine: this.engine.name, name: this.lockName, error });
          }),
        ).then(
          (granted) => end(done, undefined, new EngineHold(granted, 1, this)),
          (error) => end(done, error),
        );
      },
      cancel: () => {
        isOver = true;
        controller.abort();
      },
    };
  }

  /** Not to be asked without waiting: see `inspect`. */
  isLocked(): boolean {
    return false;
  }

  inspect(): Inspection {
    const later = (): ReturnType<Inspection['later']> => keepingAlive(this.engine.inspect(this.#request('exclusive')));
    return { now: () => undefined, later };
  }

  dispose(): void {}

  /** @internal */
  unlock(hold: EngineHold): Promise<void> {
    // The next local waiter becomes the head in this same turn, right after this, and takes it.
    if (hold.holds <= this.handOver && this.queue.waiting > 0 && isValid(hold)) {
      this.#parked = hold;
      queueMicrotask(() => void this.#takeParked('exclusive')?.engineGrant.release());
      return Promise.resolve();
    }
    return keepingAlive(hold.engineGrant.release());
  }

  #takeParked(mode: EngineRequest['mode']): EngineHold | undefined {
    const parked = this.#parked;
    this.#parked = undefined;
    if (parked === undefined) return undefined;
    if (mode === 'exclusive' && isValid(parked)) return new EngineHold(parked.engineGrant, parked.holds + 1, this);
    void parked.engineGrant.release();
    return undefined;
  }

  #request(mode: EngineRequest['mode']): EngineRequest {
    const { lockName: name, permits } = this;
    return permits === undefined ? { name, mode } : { name, mode, permits };
  }
}

function isValid({ engineGrant }: EngineHold): boolean {
  return succeeds(() => engineGrant.check());
}

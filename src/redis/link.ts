/** One connection for calls and one for messages to whichever server the client finds, and what is known of that server. */
import { within } from '../engine/retry.js';
import { codeOf, messageOf } from '../errors.js';
import type { Wire } from './client.js';
import { SERVER } from './scripts.js';

export interface LinkOptions {
  makeWire: () => Wire;
  prefix: string;
  ttl: number;
  callTimeout: number;
  replicas: number;
  /** Of this engine: the channel of its messages. */
  channel: string;
}

/** A time of the server; 'ask': the scripts are to look which server it is, since in a cluster no client is told. */
type Grace = number | 'ask';

/** The server is not fit for locks. */
export class UnfitServer extends Error {}

export class Link {
  readonly #calls: Wire;
  readonly #messages: Wire;
  #connecting: Promise<void> | undefined;
  #grace: Grace | undefined;
  #asking: Promise<Grace> | undefined;
  /** Why there is no connection, as far as it is known. */
  #trouble: unknown;
  /** Ends the attempt to connect. */
  #refuse: (error: unknown) => void = () => {};

  constructor(
    private readonly options: LinkOptions,
    private readonly told: (message: string) => void,
    /** A call was not answered in time. */
    private readonly onSilence: () => void,
  ) {
    this.#calls = options.makeWire();
    this.#messages = options.makeWire();
    this.#calls.onConnected(() => {
      this.#grace = undefined;
      this.#asking = undefined;
      this.#trouble = undefined;
    });
    for (const wire of [this.#calls, this.#messages])
      wire.onError((error) => {
        this.#trouble = error;
        this.#refuse(error);
      });
  }

  /** Until when, by the server's clock, nothing may be granted; known anew for each connection. Undefined: see `ready`. */
  get grace(): Grace | undefined {
    return this.#grace;
  }

  /** Connects, and asks which server it is. */
  async ready(): Promise<void> {
    await this.connect();
    // It may be another server by the end of the question.
    while (this.#grace === undefined) {
      this.#asking ??= this.#askServer();
      const asking = this.#asking;
      try {
        const grace = await asking;
        if (this.#asking === asking) this.#grace = grace;
      } finally {
        if (this.#asking === asking) this.#asking = undefined;
      }
    }
  }

  connect(): Promise<void> {
    this.#connecting ??= this.#connect();
    const connecting = this.#connecting;
    connecting.catch(() => {
      if (this.#connecting === connecting) this.#connecting = undefined;
    });
    return this.#within(connecting);
  }

  call(args: string[]): Promise<unknown> {
    return this.#within(this.#calls.call(args));
  }

  close(): void {
    this.#calls.close();
    this.#messages.close();
  }

  async #connect(): Promise<void> {
    // A client tries for ever, and says nothing by its promise: neither of an outage nor of a wrong password.
    const refused = new Promise<never>((_, reject) => {
      this.#refuse = reject;
    });
    refused.catch(() => {});
    await Promise.race([Promise.all([connected(this.#calls), connected(this.#messages)]), refused]);
    await this.#messages.subscribe(this.options.channel, this.told);
  }

  /** Which server it is, and until when it may not grant. @throws it is a replica, or not fit for locks */
  async #askServer(): Promise<Grace> {
    if (this.#calls.isCluster) {
      if (this.options.replicas > 0) throw new UnfitServer('replicas: no client of a cluster can ask for them');
      return 'ask';
    }
    const text = String(await this.call(['INFO']));
    const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(text)?.[1];
    if (field('role') !== 'master') throw new Error(`READONLY the server is a ${field('role')}, not a primary`);
    if (field('cluster_enabled') === '1')
      throw new UnfitServer(
        'the server is a node of Redis Cluster: give a client of the cluster (createCluster of redis, Cluster of ioredis)',
      );
    const policy = field('maxmemory_policy') ?? 'noeviction';
    if (Number(field('maxmemory') ?? 0) > 0 && policy !== 'noeviction') throw mayEvict(policy);
    const uptime = Number(field('uptime_in_seconds') ?? 0) * 1000;
    const { prefix, ttl } = this.options;
    const args = [field('run_id') ?? '?', String(uptime), String(ttl)];
    return Number(await this.call(['EVAL', SERVER, '1', `${prefix}%server`, ...args]));
  }

  async #within<T>(promise: Promise<T>): Promise<T> {
    const { callTimeout } = this.options;
    try {
      return await within(callTimeout, promise, () => {
        this.onSilence();
        return new Error(`no answer within ${callTimeout} ms`);
      });
    } catch (error) {
      throw this.#trouble ?? error; // Why there is no connection says more than that there is none.
    }
  }
}

/** What is evicted is granted again at once, and its holder is not told until its next renewal. */
export function mayEvict(policy: string): UnfitServer {
  return new UnfitServer(`the server's maxmemory-policy is ${policy}, which may evict locks: set it to noeviction`);
}

/** One that is connecting, or connected, already says so by an error. */
async function connected(wire: Wire): Promise<void> {
  try {
    await wire.connect();
  } catch (error) {
    if (!/already|Socket already opened/i.test(messageOf(error)) && codeOf(error) !== 'ERR_SOCKET_OPENED') throw error;
  }
}

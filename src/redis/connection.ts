/** The connections of one engine: one for calls, one for messages. Made when they are first needed. */
import { createHash } from 'node:crypto';
import { within } from '../engine/retry.js';
import { codeOf, messageOf } from '../errors.js';
import type { Wire } from './client.js';
import { SERVER } from './scripts.js';

export interface ConnectionOptions {
  makeWire: () => Wire;
  prefix: string;
  ttl: number;
  callTimeout: number;
  /** Of this engine: the channel of its messages. */
  channel: string;
}

/** What to wait for is no use: what is wrong stays wrong until someone mends it. */
const HOPELESS =
  /^(NOAUTH|WRONGPASS|NOPERM|MOVED|CROSSSLOT|ERR (unknown command|AUTH|invalid password|invalid DB|DB index))/;
const HOPELESS_CODE = /^(ENOTFOUND|EAI_AGAIN|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT)/;

/** The server is not fit for locks. */
class UnfitServer extends Error {}

export class Connection {
  readonly #calls: Wire;
  readonly #messages: Wire;
  #connected: Promise<void> | undefined;
  /** Until when, by the server's clock, nothing may be granted; known anew for each connection. */
  #grace: Promise<number> | undefined;
  #isClosed = false;
  /** Why there is no connection, as far as it is known. */
  #trouble: unknown;
  /** Ends the attempt to connect. */
  #refuse: (error: unknown) => void = () => {};
  readonly #listeners = new Set<(message: string) => void>();

  constructor(private readonly options: ConnectionOptions) {
    this.#calls = options.makeWire();
    this.#messages = options.makeWire();
    this.#calls.onConnected(() => {
      this.#grace = undefined;
      this.#trouble = undefined;
    });
    for (const wire of [this.#calls, this.#messages])
      wire.onError((error) => {
        this.#trouble = error;
        this.#refuse(error);
      });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  isHopeless(error: unknown): boolean {
    if (error instanceof UnfitServer) return true;
    return HOPELESS.test(messageOf(error)) || HOPELESS_CODE.test(codeOf(error) ?? '');
  }

  onMessage(listener: (message: string) => void): void {
    this.#listeners.add(listener);
  }

  /** @param args after those that all scripts have */
  async run(script: string, keys: readonly string[], permits: number, args: readonly string[]): Promise<unknown> {
    const { prefix, ttl } = this.options;
    await this.#ready();
    const grace = await this.#graceUntil();
    return this.#script(script, keys, [prefix, String(ttl), String(permits), String(grace), ...args]);
  }

  async call(...args: string[]): Promise<unknown> {
    await this.#ready();
    return this.#within(this.#calls.call(args));
  }

  close(): void {
    this.#isClosed = true;
    this.#calls.close();
    this.#messages.close();
  }

  async #script(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.#within(this.#calls.call(['EVALSHA', shaOf(script), ...rest]));
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error;
      return this.#within(this.#calls.call(['EVAL', script, ...rest]));
    }
  }

  #ready(): Promise<void> {
    if (this.#isClosed) throw new Error('the connection is closed');
    this.#connected ??= this.#connect();
    const connecting = this.#connected;
    connecting.catch(() => {
      if (this.#connected === connecting) this.#connected = undefined;
    });
    return this.#within(connecting);
  }

  async #connect(): Promise<void> {
    const told = (message: string): void => {
      for (const listener of this.#listeners) listener(message);
    };
    // A client tries for ever, and says nothing by its promise: neither of an outage nor of a wrong password.
    const refused = new Promise<never>((_, reject) => {
      this.#refuse = reject;
    });
    refused.catch(() => {});
    await Promise.race([Promise.all([connected(this.#calls), connected(this.#messages)]), refused]);
    await this.#messages.subscribe(this.options.channel, told);
  }

  #graceUntil(): Promise<number> {
    this.#grace ??= this.#askServer();
    const asking = this.#grace;
    asking.catch(() => {
      if (this.#grace === asking) this.#grace = undefined;
    });
    return asking;
  }

  /** Which server it is, and until when it may not grant. @throws it is a replica, or not fit for locks */
  async #askServer(): Promise<number> {
    const text = String(await this.#within(this.#calls.call(['INFO'])));
    const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(text)?.[1];
    if (field('role') !== 'master') throw new Error(`READONLY the server is a ${field('role')}, not a primary`);
    if (field('cluster_enabled') === '1')
      throw new UnfitServer('the server is a node of Redis Cluster, which is not supported: use one primary');
    // What is evicted is granted again at once, and its holder is not told until its next renewal.
    const policy = field('maxmemory_policy') ?? 'noeviction';
    if (Number(field('maxmemory') ?? 0) > 0 && policy !== 'noeviction')
      throw new UnfitServer(`the server's maxmemory-policy is ${policy}, which may evict locks: set it to noeviction`);
    const uptime = Number(field('uptime_in_seconds') ?? 0) * 1000;
    const { prefix, ttl } = this.options;
    const args = [field('run_id') ?? '?', String(uptime), String(ttl)];
    return Number(await this.#script(SERVER, [`${prefix}%server`], args));
  }

  async #within<T>(promise: Promise<T>): Promise<T> {
    const { callTimeout } = this.options;
    try {
      return await within(callTimeout, promise, () => {
        if (!this.#isClosed) for (const wire of [this.#calls, this.#messages]) wire.reconnect();
        return new Error(`no answer within ${callTimeout} ms`);
      });
    } catch (error) {
      throw this.#trouble ?? error; // Why there is no connection says more than that there is none.
    }
  }
}

/** One that is connecting, or connected, already says so by an error. */
async function connected(wire: Wire): Promise<void> {
  try {
    await wire.connect();
  } catch (error) {
    if (!/already|Socket already opened/i.test(messageOf(error)) && codeOf(error) !== 'ERR_SOCKET_OPENED') throw error;
  }
}

const shas = new Map<string, string>();

function shaOf(script: string): string {
  const sha = shas.get(script) ?? createHash('sha1').update(script).digest('hex');
  shas.set(script, sha);
  return sha;
}

/** A client of node-redis or ioredis, whichever the application has, as this engine needs it. */
import { messageOf } from '../errors.js';
import { requireHere } from '../require.js';

/** What of node-redis's client is used (v4, v5). */
interface NodeRedis {
  connect(): Promise<unknown>;
  readonly isReady?: boolean;
  sendCommand(args: string[]): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  duplicate(options?: object): NodeRedis;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  destroy?(): void;
  disconnect?(): Promise<unknown>;
  unref?(): void;
}

/** What of ioredis's client is used (v5). */
interface IoRedis {
  connect(): Promise<unknown>;
  call(command: string, ...args: string[]): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  duplicate(options?: object): IoRedis;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  disconnect(reconnect?: boolean): void;
  readonly status: string;
  stream?: { unref?(): void };
}

/** A client of node-redis (v4, v5) or ioredis. */
export interface RedisClient {
  duplicate: (...args: never[]) => unknown;
}

export interface Wire {
  call(args: string[]): Promise<unknown>;
  /** Also after each new connection. */
  subscribe(channel: string, listener: (message: string) => void): Promise<void>;
  /** Called for each new connection, before anything else is sent on it by this engine. */
  onConnected(listener: () => void): void;
  /** Told of errors while it connects, again and again: a wrong password, say. */
  onError(listener: (error: unknown) => void): void;
  connect(): Promise<void>;
  /** Leaves a server that does not answer: behind Sentinel another one may be the primary by now. */
  reconnect(): void;
  close(): void;
}

/** Commands are not kept while there is no connection: they reject, and the engine tries again. */
const NODE_REDIS = { disableOfflineQueue: true };
const IO_REDIS = {
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  retryStrategy: (times: number): number => Math.min(times * 100, 1000),
};

/** Makes connections like that of the client, or to the URL. @throws {Error} neither package is installed */
export function wires(source: { url: string } | { client: RedisClient }): () => Wire {
  if ('client' in source) {
    const { client } = source;
    return 'call' in client
      ? () => ioRedisWire((client as unknown as IoRedis).duplicate(IO_REDIS))
      : () => nodeRedisWire((client as unknown as NodeRedis).duplicate(NODE_REDIS));
  }
  const { url } = source;
  type Redis = { createClient(options: object): NodeRedis };
  const redis = installed<Redis>('redis');
  if (redis !== undefined) return () => nodeRedisWire(redis.createClient({ url, ...NODE_REDIS }));
  type Io = { Redis: new (url: string, options: object) => IoRedis };
  const io = installed<Io>('ioredis');
  if (io !== undefined) return () => ioRedisWire(new io.Redis(url, IO_REDIS));
  throw new Error('fairlock/redis needs the package redis or ioredis, and neither is installed: npm install redis');
}

function installed<T>(name: string): T | undefined {
  try {
    return requireHere(name) as T;
  } catch (error) {
    if (messageOf(error).includes(`Cannot find module '${name}'`)) return undefined;
    throw error;
  }
}

function nodeRedisWire(client: NodeRedis): Wire {
  client.on('error', () => {}); // It connects again, and calls reject meanwhile.
  return {
    call: (args) => client.sendCommand(args),
    subscribe: async (channel, listener) => void (await client.subscribe(channel, listener)),
    onConnected: (listener) => void client.on('ready', listener),
    onError: (listener) => void client.on('error', listener),
    connect: async () => {
      await client.connect();
      client.unref?.();
    },
    reconnect: () => {
      if (!client.isReady) return;
      end();
      client.connect().then(
        () => client.unref?.(),
        () => {}, // It tries again, and has told onError.
      );
    },
    close: end,
  };
  function end(): void {
    try {
      if (client.destroy !== undefined) client.destroy();
      else client.disconnect?.().catch(() => {});
    } catch {
      // It was not connected.
    }
  }
}

function ioRedisWire(client: IoRedis): Wire {
  client.on('error', () => {});
  client.on('connect', () => client.stream?.unref?.());
  return {
    call: ([command = '', ...args]) => client.call(command, ...args),
    subscribe: async (channel, listener) => {
      client.on('message', (from, message) => {
        if (from === channel) listener(message as string);
      });
      await client.subscribe(channel);
    },
    onConnected: (listener) => void client.on('ready', listener),
    onError: (listener) => void client.on('error', listener),
    connect: async () => void (await client.connect()),
    reconnect: () => {
      if (client.status === 'ready') client.disconnect(true);
    },
    close: () => client.disconnect(),
  };
}

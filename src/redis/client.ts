/** A client of node-redis or ioredis, whichever the application has, as this engine needs it. */
import { messageOf } from '../errors.js';
import { quietly } from '../quietly.js';
import { requireHere } from '../require.js';

/** What of node-redis's client is used (v4, v5). */
interface NodeRedis {
  connect(): Promise<unknown>;
  sendCommand(args: string[]): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  duplicate(options?: object): NodeRedis;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  destroy?(): void;
  disconnect?(): Promise<unknown>;
  unref?(): void;
}

/** What of node-redis's client of a cluster is used (v4, v5). */
interface NodeRedisCluster extends Omit<NodeRedis, 'sendCommand' | 'duplicate'> {
  sendCommand(firstKey: string | undefined, isReadonly: boolean, args: string[]): Promise<unknown>;
  duplicate(options?: object): NodeRedisCluster;
  readonly nodeByAddress?: ReadonlyMap<string, { client?: { unref?(): void } }>;
  readonly pubSubNode?: { client?: { unref?(): void } } | undefined;
}

/** What of ioredis's client is used (v5), of one server or a cluster. */
interface IoRedis {
  readonly isCluster?: boolean;
  connect(): Promise<unknown>;
  call(command: string, ...args: string[]): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  duplicate(options?: object): IoRedis;
  duplicate(nodes: undefined, options: object): IoRedis;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  disconnect(): void;
  stream?: { unref?(): void };
  /** Of a cluster: what listens to messages has a connection of its own. */
  readonly subscriber?: { getInstance?(): IoRedis | null };
}

/** A client of node-redis (v4, v5) or ioredis, of one server (behind Sentinel, too) or of a cluster. */
export interface RedisClient {
  duplicate: (...args: never[]) => unknown;
}

export interface Wire {
  /** Only the client knows which server answers. */
  readonly isCluster: boolean;
  call(args: string[]): Promise<unknown>;
  /** Also after each new connection. */
  subscribe(channel: string, listener: (message: string) => void): Promise<void>;
  /** Called for each new connection, before anything else is sent on it by this engine. */
  onConnected(listener: () => void): void;
  /** Told of errors while it connects, again and again: a wrong password, say. */
  onError(listener: (error: unknown) => void): void;
  connect(): Promise<void>;
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
const IO_REDIS_CLUSTER = {
  lazyConnect: true,
  enableOfflineQueue: false,
  clusterRetryStrategy: IO_REDIS.retryStrategy,
};

/** Makes connections like that of the client, or to the URL. @throws {Error} neither package is installed */
export function wires(source: { url: string } | { client: RedisClient }): () => Wire {
  if ('client' in source) {
    const { client } = source;
    if ('call' in client) {
      const io = client as unknown as IoRedis;
      return () => ioRedisWire(io.isCluster ? io.duplicate(undefined, IO_REDIS_CLUSTER) : io.duplicate(IO_REDIS));
    }
    if ('masters' in client) return () => clusterWire((client as unknown as NodeRedisCluster).duplicate());
    return () => nodeRedisWire((client as unknown as NodeRedis).duplicate(NODE_REDIS));
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
    isCluster: false,
    call: (args) => client.sendCommand(args),
    subscribe: async (channel, listener) => void (await client.subscribe(channel, listener)),
    onConnected: (listener) => void client.on('ready', listener),
    onError: (listener) => void client.on('error', listener),
    connect: async () => {
      await client.connect();
      client.unref?.();
    },
    close: () => endNodeRedis(client),
  };
}

function clusterWire(client: NodeRedisCluster): Wire {
  client.on('error', () => {});
  const unrefAll = (): void => {
    for (const node of [...(client.nodeByAddress?.values() ?? []), client.pubSubNode]) node?.client?.unref?.();
  };
  client.on('node-ready', unrefAll);
  return {
    isCluster: true,
    // Of an EVAL the first key comes after their number.
    call: (args) => client.sendCommand(args[0]?.startsWith('EVAL') ? args[3] : args[1], false, args),
    subscribe: async (channel, listener) => {
      await client.subscribe(channel, listener);
      unrefAll();
    },
    onConnected: (listener) => void client.on('connect', listener),
    onError: (listener) => void client.on('error', listener),
    connect: async () => {
      await client.connect();
      unrefAll();
    },
    close: () => endNodeRedis(client),
  };
}

function endNodeRedis(client: Pick<NodeRedis, 'destroy' | 'disconnect'>): void {
  // One that is not connected throws.
  quietly(() => {
    if (client.destroy !== undefined) client.destroy();
    else client.disconnect?.().catch(() => {});
  });
}

function ioRedisWire(client: IoRedis): Wire {
  client.on('error', () => {});
  const unrefOne = (one: IoRedis): void => void one.on('connect', () => one.stream?.unref?.());
  const unrefSubscriber = (): void => void client.subscriber?.getInstance?.()?.stream?.unref?.();
  unrefOne(client);
  client.on('+node', (node) => unrefOne(node as IoRedis));
  client.on('refresh', unrefSubscriber);
  return {
    isCluster: client.isCluster === true,
    call: ([command = '', ...args]) => client.call(command, ...args),
    subscribe: async (channel, listener) => {
      client.on('message', (from, message) => {
        if (from === channel) listener(message as string);
      });
      await client.subscribe(channel);
      unrefSubscriber();
    },
    onConnected: (listener) => void client.on('ready', listener),
    onError: (listener) => void client.on('error', listener),
    connect: async () => void (await client.connect()),
    close: () => client.disconnect(),
  };
}

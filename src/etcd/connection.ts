/**
 * Calls to etcd: to one endpoint, to the next one if that does not answer; with a token where there are credentials.
 */
import { createRequire } from 'node:module';
import type * as Grpc from '@grpc/grpc-js';
import { codeOf } from '../errors.js';
import { requireHere } from '../require.js';
import { API } from './rpc.js';

function loadGrpc(): { grpc: typeof Grpc; services: Record<string, Grpc.ServiceClientConstructor> } {
  let grpc: typeof Grpc;
  try {
    grpc = requireHere('@grpc/grpc-js') as typeof Grpc;
  } catch (cause) {
    throw new Error(
      'fairlock/etcd needs the package @grpc/grpc-js, which is not installed: npm install @grpc/grpc-js',
      {
        cause,
      },
    );
  }
  // A dependency of grpc-js, which need not be visible from here.
  const require = createRequire(requireHere.resolve('@grpc/grpc-js'));
  const loader = require('@grpc/proto-loader') as {
    fromJSON(json: object, options: object): Parameters<typeof Grpc.loadPackageDefinition>[0];
  };
  const definition = loader.fromJSON(API, { keepCase: true, longs: String, defaults: true });
  const root = grpc.loadPackageDefinition(definition) as unknown as {
    etcdserverpb: Record<string, Grpc.ServiceClientConstructor>;
  };
  return { grpc, services: root.etcdserverpb };
}

const { grpc, services } = loadGrpc();

const { UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNIMPLEMENTED, NOT_FOUND } = grpc.status;
const FATAL: number[] = [UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNIMPLEMENTED];

/** Waiting does not repair it: credentials, a server that knows no such call. */
export function isFatal(error: unknown): boolean {
  return FATAL.includes(Number(codeOf(error)));
}

export function isNotFound(error: unknown): boolean {
  return Number(codeOf(error)) === NOT_FOUND;
}

export interface Tls {
  /** PEM. */
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

export interface ConnectionOptions {
  readonly endpoints: readonly string[];
  readonly tls: Tls | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly callTimeout: number;
}

type Service = 'KV' | 'Watch' | 'Lease' | 'Auth';

export class Connection {
  readonly #clients = new Map<string, Grpc.Client>();
  #endpoint = 0;
  #token: Promise<string> | undefined;
  #isClosed = false;

  constructor(private readonly options: ConnectionOptions) {}

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws gRPC errors */
  async call<T>(service: Service, method: string, request: object): Promise<T> {
    try {
      return await this.#callOnce<T>(service, method, request);
    } catch (error) {
      // A token is good for some minutes.
      if (Number(codeOf(error)) !== UNAUTHENTICATED || this.#token === undefined) throw this.#next(error);
      this.#token = undefined;
      return this.#callOnce<T>(service, method, request);
    }
  }

  async stream<I, O>(service: Service, method: string): Promise<Grpc.ClientDuplexStream<I, O>> {
    const metadata = await this.#metadata();
    const call = this.#client(service)[method] as (metadata: Grpc.Metadata) => Grpc.ClientDuplexStream<I, O>;
    return call.call(this.#client(service), metadata);
  }

  /** The next call goes to the next endpoint. */
  #next(error: unknown): unknown {
    if (!isFatal(error) && !isNotFound(error)) this.#endpoint++;
    return error;
  }

  /** Of a stream that broke. */
  broken(): void {
    this.#endpoint++;
  }

  close(): void {
    this.#isClosed = true;
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  async #callOnce<T>(service: Service, method: string, request: object): Promise<T> {
    const metadata = service === 'Auth' ? new grpc.Metadata() : await this.#metadata();
    return this.#unary<T>(service, method, request, metadata);
  }

  #unary<T>(service: Service, method: string, request: object, metadata: Grpc.Metadata): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new Error('the connection is closed'));
      const client = this.#client(service);
      const deadline = Date.now() + this.options.callTimeout;
      const done = (error: unknown, response: T): void => (error ? reject(error) : resolve(response));
      (client[method] as (...all: unknown[]) => void).call(client, request, metadata, { deadline }, done);
    });
  }

  async #metadata(): Promise<Grpc.Metadata> {
    const { username: name, password } = this.options;
    const metadata = new grpc.Metadata();
    if (name === undefined) return metadata;
    const authenticate = async (): Promise<string> => {
      const request = { name, password: password ?? '' };
      return (await this.#unary<{ token: string }>('Auth', 'Authenticate', request, new grpc.Metadata())).token;
    };
    this.#token ??= authenticate();
    try {
      metadata.set('token', await this.#token);
    } catch (error) {
      this.#token = undefined;
      throw error;
    }
    return metadata;
  }

  #client(service: Service): Record<string, unknown> & Grpc.Client {
    const { endpoints, tls } = this.options;
    const endpoint = endpoints[this.#endpoint % endpoints.length] as string;
    const key = `${service} ${endpoint}`;
    let client = this.#clients.get(key);
    if (client === undefined) {
      const { host, protocol } = new URL(endpoint.includes('://') ? endpoint : `http://${endpoint}`);
      const secure = protocol === 'https:' || tls !== undefined;
      const credentials = secure
        ? grpc.credentials.createSsl(tls?.ca ?? null, tls?.key ?? null, tls?.cert ?? null)
        : grpc.credentials.createInsecure();
      // The connection is noticed to be dead where the other machine is gone.
      const options = { 'grpc.keepalive_time_ms': 10_000, 'grpc.keepalive_timeout_ms': this.options.callTimeout };
      client = new (services[service] as Grpc.ServiceClientConstructor)(host, credentials, options);
      this.#clients.set(key, client);
    }
    return client as Record<string, unknown> & Grpc.Client;
  }
}

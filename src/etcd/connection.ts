/**
 * Calls to etcd: to one endpoint, to the next one if that does not answer; with a token where there are credentials.
 * The calls, the lease and the watch have an endpoint each: one that moves on does not move the others.
 */
import { createRequire } from 'node:module';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import type * as Grpc from '@grpc/grpc-js';
import { codeOf, messageOf } from '../errors.js';
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
  const requireOfGrpc = createRequire(requireHere.resolve('@grpc/grpc-js'));
  const loader = requireOfGrpc('@grpc/proto-loader') as {
    fromJSON(json: object, options: object): Parameters<typeof Grpc.loadPackageDefinition>[0];
  };
  const definition = loader.fromJSON(API, { keepCase: true, longs: String, defaults: true });
  const root = grpc.loadPackageDefinition(definition) as unknown as {
    etcdserverpb: Record<string, Grpc.ServiceClientConstructor>;
  };
  return { grpc, services: root.etcdserverpb };
}

const { grpc, services } = loadGrpc();

const { UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNIMPLEMENTED, NOT_FOUND, RESOURCE_EXHAUSTED } =
  grpc.status;
const FATAL: number[] = [UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNIMPLEMENTED];

/** Waiting does not repair it: credentials, a server that knows no such call. */
export function isFatal(error: unknown): boolean {
  return FATAL.includes(Number(codeOf(error)));
}

/**
 * The token is too old: it has expired, or users or roles were changed since. etcd says so by two codes
 * (etcd api/v3rpc/rpctypes: ErrGRPCInvalidAuthToken, ErrGRPCAuthOldRevision), and ends watches with the text.
 */
export function isTokenTooOld(error: unknown): boolean {
  return Number(codeOf(error)) === UNAUTHENTICATED || TOKEN_TOO_OLD.test(messageOf(error));
}

const TOKEN_TOO_OLD = /invalid auth token|revision of auth store is old/;
/** What grpc-js, TLS and the resolver of names say of a configuration that is wrong: UNAVAILABLE, as of an outage. */
const MISCONFIGURED =
  /certificate|unable to (verify|get)|self.signed|altname|ENOTFOUND|EAI_NONAME|Name resolution failed|wrong version number|packet length too long|SSL routines|PEM|ERR_OSSL|ERR_INVALID_ARG/i;

export function isOutOfSpace(error: unknown): boolean {
  return Number(codeOf(error)) === RESOURCE_EXHAUSTED;
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
/** What has an endpoint of its own. */
type User = 'calls' | 'watch' | 'lease';
/** A token that is refused so often in a row, each time a fresh one, is refused for another reason. */
const MOST_TOKENS = 3;

export class Connection {
  readonly #clients = new Map<string, Grpc.Client>();
  readonly #endpoints: Record<User, number> = { calls: 0, watch: 0, lease: 0 };
  /** Endpoints at which the configuration was found to be wrong, since the last answer of any. */
  readonly #wrong = new Map<string, unknown>();
  #token: Promise<string> | undefined;
  #isClosed = false;

  constructor(private readonly options: ConnectionOptions) {}

  get callTimeout(): number {
    return this.options.callTimeout;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws gRPC errors */
  async call<T>(service: Service, method: string, request: object): Promise<T> {
    for (let tokens = 1; ; tokens++) {
      const token = this.#token;
      try {
        const answer = await this.#callOnce<T>(service, method, request);
        this.#wrong.clear();
        return answer;
      } catch (error) {
        const isRenewed = tokens < MOST_TOKENS && this.options.username !== undefined && isTokenTooOld(error);
        if (!isRenewed) throw this.#next(error);
        if (this.#token === token) this.#token = undefined;
      }
    }
  }

  async stream<I, O>(
    user: 'watch' | 'lease',
    service: Service,
    method: string,
  ): Promise<Grpc.ClientDuplexStream<I, O>> {
    const metadata = await this.#metadata();
    const client = this.#client(service, user);
    return (client[method] as (metadata: Grpc.Metadata) => Grpc.ClientDuplexStream<I, O>).call(client, metadata);
  }

  /** The next call goes to the next endpoint. */
  #next(error: unknown): unknown {
    if (isFatal(error) || isNotFound(error)) return error;
    if (MISCONFIGURED.test(messageOf(error))) this.#wrong.set(this.#endpointOf('calls'), error);
    this.#endpoints.calls++;
    return error;
  }

  /** Of a stream that broke, or was ended by etcd: the next one goes to the next endpoint, or has a fresh token. */
  broken(user: 'watch' | 'lease', error: unknown): void {
    if (isTokenTooOld(error)) this.#token = undefined;
    else this.#endpoints[user]++;
  }

  /** Whether waiting does not repair it: the configuration is wrong at every endpoint. */
  isHopeless(error: unknown): boolean {
    return isFatal(error) || this.#wrong.size === new Set(this.options.endpoints).size;
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

  #endpointOf(user: User): string {
    const { endpoints } = this.options;
    return endpoints[this.#endpoints[user] % endpoints.length] as string;
  }

  #client(service: Service, user: User = 'calls'): Record<string, unknown> & Grpc.Client {
    const { tls } = this.options;
    const endpoint = this.#endpointOf(user);
    const key = `${service} ${endpoint}`;
    let client = this.#clients.get(key);
    if (client === undefined) {
      const { host, address, isSecure } = parsed(endpoint);
      const secure = isSecure || tls !== undefined;
      const ip = isIP(host) > 0 ? host : undefined;
      // An IP address is no name of a server (RFC 6066, 3): Node 26 refuses it. The certificate is checked for it all the
      // same.
      const verify =
        ip === undefined
          ? {}
          : { checkServerIdentity: (_: string, cert: object) => checkServerIdentity(ip, cert as never) };
      const credentials = secure
        ? grpc.credentials.createSsl(tls?.ca ?? null, tls?.key ?? null, tls?.cert ?? null, verify)
        : grpc.credentials.createInsecure();
      // The connection is noticed to be dead where the other machine is gone.
      const options = {
        'grpc.keepalive_time_ms': 10_000,
        'grpc.keepalive_timeout_ms': this.options.callTimeout,
        ...(secure && ip !== undefined && { 'grpc.ssl_target_name_override': 'etcd' }),
      };
      client = new (services[service] as Grpc.ServiceClientConstructor)(address, credentials, options);
      this.#clients.set(key, client);
    }
    return client as Record<string, unknown> & Grpc.Client;
  }
}

/** etcd's own port, where none is named. */
const DEFAULT_PORT = '2379';

/** Not by `URL.host`, which leaves out 80 of http and 443 of https. */
function parsed(endpoint: string): { host: string; address: string; isSecure: boolean } {
  const { hostname, protocol } = new URL(endpoint.includes('://') ? endpoint : `http://${endpoint}`);
  const port = /^(?:\w+:\/\/)?(?:\[[^\]]*\]|[^/:]*):(\d+)(?:\/|$)/.exec(endpoint)?.[1] ?? DEFAULT_PORT;
  return { host: hostname.replace(/^\[|\]$/g, ''), address: `${hostname}:${port}`, isSecure: protocol === 'https:' };
}

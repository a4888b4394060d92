/** A TCP proxy that can stop forwarding: what is sent then is swallowed, and no connection is closed. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { atFileEnd } from './ends.js';

export class TcpProxy {
  readonly #sockets = new Set<Socket>();
  /** Of connections that are dead, and do not look so. */
  readonly #dead = new WeakSet<Socket>();
  #isSwallowing = false;
  #delay = 0;

  private constructor(readonly port: number) {}

  static async to(target: number): Promise<TcpProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new TcpProxy((server.address() as { port: number }).port);
    server.on('connection', (client) => {
      const upstream = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        proxy.#sockets.add(from);
        from.on('data', (data) => {
          if (proxy.#isSwallowing || proxy.#dead.has(from)) return;
          if (proxy.#delay === 0) to.write(data);
          else setTimeout(() => to.write(data), proxy.#delay);
        });
        from.on('close', () => {
          proxy.#sockets.delete(from);
          if (!proxy.#isSwallowing && !proxy.#dead.has(from)) to.destroy();
        });
        from.on('error', () => {});
      }
    });
    atFileEnd(() => {
      server.close();
      proxy.cut();
    });
    return proxy;
  }

  /** Everything takes so many ms longer, each way. */
  slowDown(ms: number): void {
    this.#delay = ms;
  }

  swallow(): void {
    this.#isSwallowing = true;
  }

  /** The connections that there are; new ones are forwarded. */
  swallowOld(): void {
    for (const socket of this.#sockets) this.#dead.add(socket);
  }

  /** Closes all connections; new ones are forwarded. */
  cut(): void {
    this.#isSwallowing = false;
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A TCP proxy that can stop forwarding: what is sent then is swallowed, and no connection is closed. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { atFileEnd } from './ends.js';

export class TcpProxy {
  readonly #sockets = new Set<Socket>();
  #isSwallowing = false;

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
          if (!proxy.#isSwallowing) to.write(data);
        });
        from.on('close', () => {
          proxy.#sockets.delete(from);
          if (!proxy.#isSwallowing) to.destroy();
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

  swallow(): void {
    this.#isSwallowing = true;
  }

  /** Closes all connections; new ones are forwarded. */
  cut(): void {
    this.#isSwallowing = false;
    for (const socket of this.#sockets) socket.destroy();
  }
}

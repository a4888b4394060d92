/** What an engine says to Redis, and hears from it: over a link that is left when the server does not answer. */
import { createHash } from 'node:crypto';
import { codeOf, messageOf } from '../errors.js';
import { Link, type LinkOptions, mayEvict, UnfitServer } from './link.js';

/** Waiting does not repair these. */
const HOPELESS = /^(NOAUTH|WRONGPASS|NOPERM|CROSSSLOT|ERR (unknown command|AUTH|invalid password|invalid DB|DB index))/;
const HOPELESS_CODE = /^(ENOTFOUND|EAI_AGAIN|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT)/;

export class Connection {
  #link: Link;
  #isClosed = false;

  constructor(
    private readonly options: LinkOptions,
    private readonly told: (message: string) => void,
  ) {
    this.#link = this.#makeLink();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  isHopeless(error: unknown): boolean {
    if (error instanceof UnfitServer) return true;
    return HOPELESS.test(messageOf(error)) || HOPELESS_CODE.test(codeOf(error) ?? '');
  }

  /** @param args after those that all scripts have */
  async run(script: string, keys: readonly string[], permits: number, args: readonly string[]): Promise<unknown> {
    try {
      return await this.#eval('EVALSHA', shaOf(script), keys, permits, args);
    } catch (error) {
      const policy = /UNFIT (\S+)/.exec(messageOf(error))?.[1];
      if (policy !== undefined) throw mayEvict(policy);
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error;
      return this.#eval('EVAL', script, keys, permits, args);
    }
  }

  async call(...args: string[]): Promise<unknown> {
    const link = this.#open();
    await link.connect();
    return link.call(args);
  }

  close(): void {
    this.#isClosed = true;
    this.#link.close();
  }

  async #eval(
    command: 'EVAL' | 'EVALSHA',
    script: string,
    keys: readonly string[],
    permits: number,
    args: readonly string[],
  ): Promise<unknown> {
    const { prefix, ttl } = this.options;
    const link = this.#open();
    if (link.grace === undefined) await link.ready();
    const first = [command, script, String(keys.length), ...keys];
    return link.call([...first, prefix, String(ttl), String(permits), String(link.grace), ...args]);
  }

  #open(): Link {
    if (this.#isClosed) throw new Error('the connection is closed');
    return this.#link;
  }

  /**
   * A server that does not answer is left, and the client asked anew where it is: behind Sentinel, and in a cluster,
   * another one may be the primary by now. A new client, since one that waits for such a server may wait for ever.
   */
  #makeLink(): Link {
    const link = new Link(this.options, this.told, () => {
      if (this.#isClosed || this.#link !== link) return;
      link.close();
      this.#link = this.#makeLink();
    });
    return link;
  }
}

const shas = new Map<string, string>();

function shaOf(script: string): string {
  const sha = shas.get(script) ?? createHash('sha1').update(script).digest('hex');
  shas.set(script, sha);
  return sha;
}

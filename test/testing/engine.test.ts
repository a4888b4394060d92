/** The suite for engines catches engines that are wrong. Those that are right pass it in test/etcd and test/postgres. */
import { describe, expect, it } from 'vitest';
import type { Engine, EngineGrant, EngineRequest } from '../../src/engine/index.js';
import type { Parties } from '../../src/options.js';
import { engineSuite } from '../../src/testing/engine/index.js';

interface Entry {
  readonly request: EngineRequest;
  grant?: () => void;
}

/** A lock service in this process, with a fault if it is told to have one. */
class Service {
  readonly queues = new Map<string, Entry[]>();
  readonly records = new Map<string, string>();
  tokens = 0;
  constructor(readonly fault: string | undefined) {}

  queue({ name, permits }: EngineRequest): Entry[] {
    const key = `${name}\0${permits}`;
    const known = this.queues.get(key) ?? [];
    this.queues.set(key, known);
    return known;
  }

  /** Of a queue, those at its head that hold at once. */
  holding(queue: Entry[], permits: number | undefined): number {
    if (permits !== undefined) return Math.min(queue.length, this.fault === 'permits' ? permits + 1 : permits);
    const writer = queue.findIndex(({ request }) => request.mode === 'exclusive');
    return writer === 0 ? (this.fault === 'exclusion' ? 2 : 1) : writer < 0 ? queue.length : writer;
  }

  serve(queue: Entry[], permits: number | undefined): void {
    for (const entry of queue.slice(0, this.holding(queue, permits))) {
      entry.grant?.();
      delete entry.grant;
    }
  }
}

class MemoryEngine implements Engine {
  readonly name = 'memory';
  constructor(private readonly service: Service) {}

  async tryAcquire(request: EngineRequest): Promise<EngineGrant | null> {
    const { service } = this;
    const queue = service.queue(request);
    const entry = { request };
    queue.push(entry);
    if (service.holding(queue, request.permits) >= queue.length) return this.#grant(entry);
    queue.splice(queue.indexOf(entry), 1);
    return null;
  }

  acquire(request: EngineRequest, signal: AbortSignal): Promise<EngineGrant> {
    const { service } = this;
    const queue = service.queue(request);
    return new Promise((resolve, reject) => {
      const entry: Entry = { request, grant: () => resolve(this.#grant(entry)) };
      if (signal.aborted) return reject(signal.reason);
      if (service.fault === 'order') queue.splice(1, 0, entry);
      else queue.push(entry);
      signal.addEventListener('abort', () => {
        if (entry.grant === undefined || service.fault === 'aborts') return reject(signal.reason);
        queue.splice(queue.indexOf(entry), 1);
        service.serve(queue, request.permits);
        reject(signal.reason);
      });
      service.serve(queue, request.permits);
    });
  }

  async inspect(request: EngineRequest): Promise<Parties> {
    const queue = this.service.queue(request);
    const party = { pid: process.pid, shared: false };
    const holding = this.service.holding(queue, request.permits);
    return { holders: queue.slice(0, holding).map(() => party), waiters: queue.slice(holding).map(() => party) };
  }

  async readRecord(name: string, key: string): Promise<string | undefined> {
    return this.service.records.get(`${name} ${key}`);
  }

  async writeRecord(name: string, key: string, text: string): Promise<void> {
    if (this.service.fault !== 'records') this.service.records.set(`${name} ${key}`, text);
  }

  #grant(entry: Entry): EngineGrant {
    const { service } = this;
    const { request } = entry;
    const token = service.fault === 'tokens' ? 1 : ++service.tokens;
    let isReleased = false;
    return {
      token,
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        const queue = service.queue(request);
        queue.splice(queue.indexOf(entry), 1);
        service.serve(queue, request.permits);
      },
      check: () => {},
      verify: async () => {},
      onLost: () => () => {},
    };
  }
}

/** The names of the tests that fail. */
async function failures(fault: string | undefined): Promise<string[]> {
  const tests: [string, () => Promise<void>][] = [];
  const service = new Service(fault);
  // An engine that is wrong may never grant.
  const options = fault === undefined ? {} : { limit: 1000 };
  engineSuite({ test: (name, run) => void tests.push([name, run]) }, () => new MemoryEngine(service), options);
  const failed: string[] = [];
  for (const [name, run] of tests) {
    service.queues.clear();
    await run().catch(() => failed.push(name));
  }
  return failed;
}

describe('engineSuite', () => {
  it('an engine that is right passes', async () => {
    expect(await failures(undefined)).toEqual([]);
  });

  it.each([
    ['exclusion', 'is held from acquire to release'],
    ['tokens', 'tokens grow'],
    ['order', 'serves the processes in the order'],
    ['permits', 'a semaphore has at most'],
    ['aborts', 'a request that times out leaves no place'],
    ['records', 'keeps records'],
  ])('a fault of %s is caught', async (fault, name) => {
    expect(await failures(fault)).toContainEqual(expect.stringContaining(name));
  });
});

/** Other clients of the Web Locks API, in a process or a Worker: see test/programs/web-locker.mjs. */
import type { ChildProcess } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';
import type { LockManagerSnapshot, LockOptions } from '../../src/web-locks/index.js';
import { forkProgram, ProgramPool, program } from './programs.js';
import { until } from './waiting.js';

interface Told {
  id?: number;
  granted?: { name: string; mode: string } | null;
  done?: string;
  error?: string;
  message?: string;
  lost?: boolean;
  ready?: boolean;
  reset?: boolean;
  snapshot?: LockManagerSnapshot;
}

/** A client that uses a directory. */
export abstract class WebLocksClient {
  readonly told: Told[] = [];
  #requests = 0;

  abstract readonly id: string;
  abstract send(message: object): void;
  abstract kill(): unknown;

  /** The number of the request. */
  request(name: string, options: LockOptions = {}, abortable = false): number {
    const id = this.#requests++;
    this.send({ request: { id, name, options, abortable } });
    return id;
  }

  /** Releases as soon as it is granted. */
  async brief(name: string): Promise<void> {
    const id = this.#requests++;
    this.send({ request: { id, name, brief: true } });
    await this.until('done', id);
    this.told.length = 0;
  }

  async until<K extends keyof Told>(key: K, id?: number): Promise<Exclude<Told[K], undefined>> {
    const told = await until(() => this.told.find((one) => one[key] !== undefined && one.id === id));
    return told[key] as Exclude<Told[K], undefined>;
  }

  async query(): Promise<LockManagerSnapshot> {
    this.told.splice(0, this.told.length, ...this.told.filter(({ snapshot }) => snapshot === undefined));
    this.send({ query: true });
    return this.until('snapshot');
  }
}

export class WebLocksProcess extends WebLocksClient {
  static readonly #pool = new ProgramPool(() => new WebLocksProcess(forkProgram('web-locker.mjs')));

  private constructor(readonly child: ChildProcess) {
    super();
    child.on('message', (told: Told) => this.told.push(told));
  }

  static async start(directory: string): Promise<WebLocksProcess> {
    const client = WebLocksProcess.#pool.take();
    client.send({ use: directory });
    await client.until('ready');
    return client;
  }

  get id(): string {
    return `pid-${this.child.pid}`;
  }

  send(message: object): void {
    this.child.send(message);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  async reset(): Promise<boolean> {
    this.send({ reset: true });
    await this.until('reset');
    this.told.length = 0;
    return true;
  }
}

export class WebLocksWorker extends WebLocksClient {
  private constructor(readonly worker: Worker) {
    super();
    worker.on('message', (told: Told) => this.told.push(told));
  }

  static async start(directory: string): Promise<WebLocksWorker> {
    const worker = new Worker(program('web-locker.mjs'), { workerData: directory, execArgv: [] });
    onTestFinished(() => void worker.terminate());
    const client = new WebLocksWorker(worker);
    await client.until('ready');
    return client;
  }

  get id(): string {
    return `pid-${process.pid}/${this.worker.threadId}`;
  }

  send(message: object): void {
    this.worker.postMessage(message);
  }

  kill(): Promise<number> {
    return this.worker.terminate();
  }
}

/** Other processes: the helper programs of test/programs, and how to talk to them. */
import { type ChildProcess, type ForkOptions, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

const running = new Set<ChildProcess>();

/** After each test: see clean-up.ts. */
export async function endPrograms(): Promise<void> {
  await Actor.keepThoseThatCanGoOn();
  for (const child of running) {
    child.kill('SIGKILL');
    child.kill('SIGCONT');
  }
  await Promise.all(
    [...running].map((child) => child.exitCode === null && child.signalCode === null && once(child, 'exit')),
  );
  running.clear();
}

export function program(name: string): string {
  return fileURLToPath(new URL(`../programs/${name}`, import.meta.url));
}

export function track<T extends ChildProcess>(child: T): T {
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/**
 * A library that, preloaded, makes locks fail or lie (test/programs/lying-flock.c); undefined where it cannot be
 * compiled.
 */
export function lyingFlock(): string | undefined {
  const library = join(mkdtempSync(join(tmpdir(), 'fairlock-test-')), 'lying-flock.so');
  afterAll(() => rmSync(dirname(library), { recursive: true }));
  return spawnSync('cc', ['-shared', '-fPIC', '-o', library, program('lying-flock.c'), '-ldl']).status === 0
    ? library
    : undefined;
}

/** What an actor is not the same after. */
const SPENT_BY = new Set(['setuid', 'exhaustDescriptors', 'exit', 'adopt']);
const RESET_MS = 5_000;

/**
 * A process that does what it is told: see test/programs/actor.mjs. One that has let go of everything at the end of a
 * test serves the next ones, for to start Node takes longer than most tests.
 */
export class Actor {
  static readonly #idle: Actor[] = [];
  static readonly #inUse = new Set<Actor>();
  #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #next = 0;
  #isSpent = false;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  private constructor(readonly child: ChildProcess) {
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    child.on('message', ({ id, result, error }: { id: number; result?: unknown; error?: object }) => {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(Object.assign(new Error(), error));
    });
  }

  static start(options?: ForkOptions): Actor {
    if (options !== undefined) return Actor.#fork(options);
    const actor = Actor.#takeIdle() ?? Actor.#fork();
    running.add(actor.child);
    actor.child.ref();
    actor.child.channel?.ref();
    Actor.#inUse.add(actor);
    return actor;
  }

  static #fork(options?: ForkOptions): Actor {
    return new Actor(track(fork(program('actor.mjs'), { execArgv: ['--expose-gc'], ...options })));
  }

  static #takeIdle(): Actor | undefined {
    let actor = Actor.#idle.pop();
    while (actor?.child.connected === false) actor = Actor.#idle.pop();
    return actor;
  }

  /** Those that cannot are left among the running programs. */
  static async keepThoseThatCanGoOn(): Promise<void> {
    const actors = [...Actor.#inUse];
    Actor.#inUse.clear();
    for (const [i, isReset] of (await Promise.all(actors.map((actor) => actor.#reset()))).entries()) {
      const actor = actors[i];
      if (!isReset || actor === undefined) continue;
      running.delete(actor.child);
      actor.child.unref();
      actor.child.channel?.unref();
      Actor.#idle.push(actor);
    }
  }

  call<T = unknown>(method: string, ...args: unknown[]): Promise<T> {
    if (SPENT_BY.has(method)) this.#isSpent = true;
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.child.send({ id, method, args }, (error) => error !== null && reject(error));
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child.kill(signal);
    await this.exited;
  }

  /** Its calls that are not answered yet never are. */
  async #reset(): Promise<boolean> {
    if (this.#isSpent || !this.child.connected || !this.child.kill('SIGCONT')) return false;
    this.#calls.clear();
    const late = new AbortController();
    const answered = this.call('reset').then(
      () => true,
      () => false,
    );
    const isReset = await Promise.race([
      answered,
      this.exited.then(() => false),
      pause(RESET_MS, false, { signal: late.signal }).catch(() => false),
    ]);
    late.abort();
    return isReset;
  }
}

export interface Ran {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. */
export async function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Promise<Ran> {
  const child = track(
    spawn(command, args, { env: { ...process.env, ...env }, cwd, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

/** A program that is told by lines on stdin and answers by lines on stdout. */
export class LineProgram {
  readonly #lines: AsyncIterator<string>;
  readonly child;

  constructor(command: string, args: string[]) {
    this.child = track(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    return (await this.#lines.next()).value;
  }

  async ask(line: string): Promise<string> {
    this.child.stdin.write(`${line}\n`);
    return this.line();
  }
}

/** Runs a script of a module to its end. */
export function runScript(script: string, env: NodeJS.ProcessEnv = {}, flags: string[] = []): Promise<Ran> {
  return run(process.execPath, ['--no-warnings', ...flags, '--input-type=module', '-e', script], env);
}

/** flock(1), holding the file until it is released. */
export async function holdByFlock(
  file: string,
  ...options: string[]
): Promise<{ letGo(): Promise<void>; pid: number }> {
  const holder = new LineProgram('flock', [...options, file, 'sh', '-c', 'echo held; read line']);
  if ((await holder.line()) !== 'held') throw new Error('flock(1) did not get the lock');
  const ended = once(holder.child, 'exit');
  return {
    pid: holder.child.pid as number,
    letGo: async () => {
      holder.child.stdin.end();
      await ended;
    },
  };
}

/** Whether flock(1) gets the lock at once. */
export function isFreeForFlock(file: string): boolean {
  return spawnSync('flock', ['-n', file, 'true']).status === 0;
}

/** How often the main thread of a process has slept: on Linux. */
export function sleepsOf(pid: number | undefined): number {
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

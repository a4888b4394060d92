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
import { needs } from './tools.js';

const running = new Set<ChildProcess>();
const pools: { keepThoseThatCanGoOn(): Promise<void> }[] = [];

/** After each test: see clean-up.ts. */
export async function endPrograms(): Promise<void> {
  await Promise.all(pools.map((pool) => pool.keepThoseThatCanGoOn()));
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

/** Starts a helper program that talks by messages; without the flags that this process was started with. */
export function forkProgram(name: string, args: string[] = [], options: ForkOptions = {}): ChildProcess {
  return track(fork(program(name), args, { execArgv: [], ...options }));
}

/** A library of test/programs, to be preloaded; undefined where it cannot be compiled. */
export function preloaded(source: string, ...flags: string[]): string | undefined {
  const library = join(mkdtempSync(join(tmpdir(), 'fairlock-test-')), source.replace('.c', '.so'));
  afterAll(() => rmSync(dirname(library), { recursive: true }));
  return spawnSync('cc', ['-shared', '-fPIC', ...flags, '-o', library, program(source), '-ldl']).status === 0
    ? library
    : undefined;
}

/** A library that makes locks fail or lie. */
export function lyingFlock(...flags: string[]): string | undefined {
  return preloaded('lying-flock.c', ...flags);
}

const RESET_MS = 5_000;

export interface Reusable {
  readonly child: ChildProcess;
  /** Lets go of everything; true if it can go on. */
  reset(): Promise<boolean>;
}

/**
 * Programs of one kind. One that has let go of everything at the end of a test serves the next ones, for to start Node
 * takes longer than most tests.
 */
export class ProgramPool<T extends Reusable> {
  readonly #idle: T[] = [];
  readonly #inUse = new Set<T>();

  constructor(private readonly start: () => T) {
    pools.push(this);
  }

  take(): T {
    let one = this.#idle.pop();
    while (one?.child.connected === false) one = this.#idle.pop();
    one ??= this.start();
    running.add(one.child);
    one.child.ref();
    one.child.channel?.ref();
    this.#inUse.add(one);
    return one;
  }

  /** Those that cannot are left among the running programs. */
  async keepThoseThatCanGoOn(): Promise<void> {
    const used = [...this.#inUse];
    this.#inUse.clear();
    await Promise.all(
      used.map(async (one) => {
        if (!one.child.connected || !one.child.kill('SIGCONT') || !(await isReset(one))) return;
        running.delete(one.child);
        one.child.unref();
        one.child.channel?.unref();
        this.#idle.push(one);
      }),
    );
  }
}

async function isReset(one: Reusable): Promise<boolean> {
  const over = new AbortController();
  const { signal } = over;
  const ended = once(one.child, 'exit', { signal }).then(() => false);
  const late = pause(RESET_MS, false, { signal });
  const isReset = await Promise.race([one.reset(), ended, late]);
  over.abort();
  await Promise.allSettled([ended, late]);
  return isReset;
}

/** What an actor is not the same after. */
const SPENT_BY = new Set(['setuid', 'exhaustDescriptors', 'exit', 'adopt']);

/** A process that does what it is told: see test/programs/actor.mjs. */
export class Actor {
  static readonly #pool = new ProgramPool(() => Actor.#fork());
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
    return options === undefined ? Actor.#pool.take() : Actor.#fork(options);
  }

  static #fork(options?: ForkOptions): Actor {
    return new Actor(forkProgram('actor.mjs', [], { execArgv: ['--expose-gc'], ...options }));
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
  async reset(): Promise<boolean> {
    if (this.#isSpent) return false;
    this.#calls.clear();
    return this.call('reset').then(
      () => true,
      () => false,
    );
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
  needs(command);
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

  constructor(
    command: string,
    args: string[],
    options: { detached?: boolean; cwd?: string; env?: NodeJS.ProcessEnv } = {},
  ) {
    needs(command);
    this.child = track(spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'inherit'] }));
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

/** Runs one of test/programs to its end. */
export function runProgram(
  name: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
  flags: readonly string[] = [],
): Promise<Ran> {
  return run(process.execPath, ['--no-warnings', ...flags, program(name), ...args], env);
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
  needs('flock');
  return spawnSync('flock', ['-n', file, 'true']).status === 0;
}

/** How often the main thread of a process has slept: on Linux. */
export function sleepsOf(pid: number | undefined): number {
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

// Compiled by `npm run typecheck`, never run: what the types let through and what they refuse.
import { expectTypeOf } from 'vitest';
import { interProcessLocked, locked } from '../../src/decorators/index.js';
import { FifoMutex, InterProcessLock, type LockHandle } from '../../src/index.js';
import { lock, synchronized, withLock } from '../../src/lockutils/index.js';

class Service {
  readonly _lock = new FifoMutex();

  @interProcessLocked('/x')
  async method(a: number, b?: string): Promise<string> {
    return `${a}${b}`;
  }

  @interProcessLocked((_self, id) => `/x/${id}`)
  async unannotated(id: string): Promise<string> {
    return id;
  }

  @locked
  async bare(): Promise<number> {
    return 1;
  }

  @locked('_lock')
  static async named(this: typeof Service): Promise<void> {}

  @interProcessLocked('/x')
  async generic<T>(value: T): Promise<T> {
    return value;
  }

  @interProcessLocked('/x')
  async update<K extends keyof Service>(key: K, value: Service[K]): Promise<Service[K]> {
    void key;
    return value;
  }

  async overloaded(a: number): Promise<number>;
  async overloaded(a: string): Promise<string>;
  @locked
  async overloaded(a: number | string): Promise<number | string> {
    return a;
  }

  // @ts-expect-error a method that is not async would become so behind its type's back
  @interProcessLocked('/x')
  sync(): string {
    return '';
  }

  // @ts-expect-error likewise
  @synchronized('x')
  alsoSync(): number {
    return 1;
  }
}

expectTypeOf<Service['method']>().toEqualTypeOf<(a: number, b?: string) => Promise<string>>();
expectTypeOf<Service['generic']>().toEqualTypeOf<<T>(value: T) => Promise<T>>();
expectTypeOf(interProcessLocked('/x')((a: number) => a.toString())).toEqualTypeOf<
  (this: unknown, a: number) => Promise<string>
>();
expectTypeOf(synchronized('x')(async (a: number, b: string) => [a, b] as const)).returns.resolves.toEqualTypeOf<
  readonly [number, string]
>();
expectTypeOf(lock('x')).resolves.toEqualTypeOf<LockHandle>();
expectTypeOf(withLock('x', { external: true }, () => 5)).resolves.toEqualTypeOf<number>();
expectTypeOf(withLock('x', async ({ signal }) => signal.aborted)).resolves.toEqualTypeOf<boolean>();
expectTypeOf(new InterProcessLock('/x').withLock(async () => 'x')).resolves.toEqualTypeOf<string>();
// @ts-expect-error no such option
void lock('x', { extrenal: true });

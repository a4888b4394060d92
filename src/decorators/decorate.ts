/**
 * One way to put something around a function, for all the ways to ask for it: a TC39 decorator, a decorator under
 * `experimentalDecorators`, and a plain call.
 */
export type Around = <T>(
  self: unknown,
  args: readonly unknown[],
  run: () => T | PromiseLike<T>,
  name: string,
) => Promise<T>;

/** What of a `ClassMethodDecoratorContext` is needed: more would bind its type parameters to one call signature. */
export interface MethodContext {
  readonly kind: 'method';
  readonly name: string | symbol;
}

/** On methods and static methods. */
export interface AsyncMethodDecorator {
  /** TC39. A method that is not async is refused by its type; generic and overloaded ones keep theirs. */
  <Method extends (this: never, ...args: never[]) => Promise<unknown>>(method: Method, context: MethodContext): Method;
  /** `experimentalDecorators`. */
  <Method extends (...args: never[]) => Promise<unknown>>(
    target: object,
    name: string | symbol,
    descriptor: TypedPropertyDescriptor<Method>,
  ): TypedPropertyDescriptor<Method>;
}

/** A plain wrapper: a sync function becomes async. */
export type AsyncWrapper = <This, Args extends unknown[], Result>(
  fn: (this: This, ...args: Args) => Result,
) => (this: This, ...args: Args) => Promise<Awaited<Result>>;

// In this order: of several that would do, TypeScript takes the first.
export type AsyncDecorator = AsyncMethodDecorator & AsyncWrapper;

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

export function decorator(around: Around): AsyncDecorator {
  const decorate = (first: unknown, second?: unknown, descriptor?: PropertyDescriptor): unknown => {
    if (descriptor !== undefined) return { ...descriptor, value: wrap(descriptor.value, around) };
    if (second !== undefined && !isMethodContext(second))
      throw new TypeError('only methods, static methods and functions can be decorated');
    return wrap(first, around);
  };
  return decorate as AsyncDecorator;
}

/** `@decorator` without parentheses: what comes is what is to be decorated, not an option. */
export function isDecoration(args: readonly unknown[]): boolean {
  return args.length > 1 && (isMethodContext(args[1]) || typeof args[1] === 'string' || typeof args[1] === 'symbol');
}

function isMethodContext(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'method';
}

function wrap(fn: unknown, around: Around): AnyFunction {
  if (typeof fn !== 'function')
    throw new TypeError(`only methods, static methods and functions can be decorated, not ${typeof fn}`);
  const inner = fn as AnyFunction;
  const wrapped: AnyFunction = async function (this: unknown, ...args) {
    return around(this, args, () => inner.apply(this, args), inner.name);
  };
  copyProperties(inner, wrapped);
  return wrapped;
}

/** What other decorators (NestJS's `@Get`, `@Cron`, `SetMetadata`) look for on the function that they are given. */
interface ReflectMetadata {
  getOwnMetadataKeys?(target: object): unknown[];
  getOwnMetadata?(key: unknown, target: object): unknown;
  defineMetadata?(key: unknown, value: unknown, target: object): void;
}

/** Name, length, what was put on the function, and what reflect-metadata (where it is loaded) knows of it. */
function copyProperties(from: AnyFunction, to: AnyFunction): void {
  for (const key of Reflect.ownKeys(from)) {
    const mine = Object.getOwnPropertyDescriptor(to, key);
    const theirs = Object.getOwnPropertyDescriptor(from, key);
    if (theirs !== undefined && mine?.configurable !== false && key !== 'prototype')
      Object.defineProperty(to, key, theirs);
  }
  const metadata = Reflect as unknown as ReflectMetadata;
  for (const key of metadata.getOwnMetadataKeys?.(from) ?? [])
    metadata.defineMetadata?.(key, metadata.getOwnMetadata?.(key, from), to);
}

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { interProcessLocked, locked } from '../../src/decorators/index.js';
import { FifoMutex, InterProcessLock } from '../../src/index.js';
import { hasFlock } from '../support/capabilities.js';
import { fetchInto, linkInto } from '../support/package.js';
import { root, testFolder } from '../support/paths.js';
import { program, run } from '../support/programs.js';
import { isSoak, some } from '../support/scale.js';

const { folder, path } = testFolder();
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

describe('decorators', () => {
  const kinds: [string, string[]][] = [
    ['TC39', []],
    ['experimentalDecorators', ['--tsconfig', join(root, 'test/types/tsconfig.legacy.json')]],
  ];
  it.runIf(hasFlock).each(some(kinds))(
    '%s: on methods and static methods, keeping name, this, arguments and result',
    async (_kind, args) => {
      const where = mkdtempSync(join(folder, 'decorated-'));
      const { stdout, stderr } = await run(bin('tsx'), [...args, program('decorated.ts'), where]);
      expect(stderr).toBe('');
      const { log, ...seen } = JSON.parse(stdout);
      expect(seen).toEqual({
        method: '3 true true',
        name: ['method', 2, 'create'],
        byArgument: true,
        static: 'Service',
        locked: [true, true, [false, true], [false, true], [true, true]],
        afterwards: [false, false],
        missing: 'TypeError: this.missing: expected a lock with withLock(), got undefined',
        shared: [[true, 'reader'], [true, 'writer'], null],
      });
      expect(log.slice(0, 4)).toEqual(['read', 'read', 'read end', 'read end']);
      expect(log.slice(4)).toEqual(['write', 'write end', 'read', 'read end']);
    },
  );

  it('wrap functions: name, arguments, this and errors pass through, a sync one becomes async', async () => {
    const file = path();
    const add = interProcessLocked(file)(function add(this: { base: number }, a: number) {
      expect(new InterProcessLock(file).tryAcquire()).toBeNull();
      return this.base + a;
    });
    expect([add.name, add.length]).toEqual(['add', 1]);
    expect(await add.call({ base: 40 }, 2)).toBe(42);
    const fails = interProcessLocked(file)(() => {
      throw new Error('inside');
    });
    await expect(fails()).rejects.toThrow('inside');
    new InterProcessLock(file).tryAcquire()?.release();
  });

  it('lists of locks are taken in order and released in reverse', async () => {
    const order: string[] = [];
    const noting = (name: string) => ({
      withLock: async <T>(fn: () => T | PromiseLike<T>): Promise<T> => {
        order.push(`+${name}`);
        try {
          return await fn();
        } finally {
          order.push(`-${name}`);
        }
      },
    });
    const self = { locks: [noting('a'), noting('b')], c: noting('c') };
    await locked(['locks', 'c'])(async function (this: typeof self) {
      order.push('run');
    }).call(self);
    expect(order).toEqual(['+a', '+b', '+c', 'run', '-c', '-b', '-a']);
  });

  it('keep what other decorators put on the function: own properties, and metadata of reflect-metadata', async () => {
    const known = new Map<object, Map<unknown, unknown>>();
    const metadata = {
      getOwnMetadataKeys: (target: object) => [...(known.get(target)?.keys() ?? [])],
      getOwnMetadata: (key: unknown, target: object) => known.get(target)?.get(key),
      defineMetadata: (key: unknown, value: unknown, target: object) => {
        known.set(target, (known.get(target) ?? new Map()).set(key, value));
      },
    };
    Object.assign(Reflect, metadata);
    try {
      async function method() {
        return 'ran';
      }
      const inner = Object.assign(method, { own: 'property', [Symbol.for('route')]: 5 });
      metadata.defineMetadata('schedule', 'daily', inner);
      const wrapped = interProcessLocked(path())(inner) as typeof inner;
      expect([wrapped.own, wrapped[Symbol.for('route') as never], wrapped.name]).toEqual(['property', 5, 'method']);
      expect(metadata.getOwnMetadata('schedule', wrapped)).toBe('daily');
      expect(await wrapped()).toBe('ran');
    } finally {
      for (const name of Object.keys(metadata)) Reflect.deleteProperty(Reflect, name);
    }
  });

  it.runIf(isSoak && hasFlock)('real NestJS finds the route and the job under them', async () => {
    const project = join(folder, 'nest');
    fetchInto(
      project,
      ...['core@10', 'common@10', 'platform-express@10', 'schedule@4'].map((name) => `@nestjs/${name}`),
      'reflect-metadata@0.2',
      'rxjs@7',
    );
    linkInto(project);
    writeFileSync(join(project, 'main.cjs'), readFileSync(program('nest.cjs')));
    const { stdout, stderr } = await run(process.execPath, ['main.cjs', path()], {}, project);
    expect([stderr, stdout]).toEqual(['', 'GET / held\njob held\n']);
  });

  it('check what they get', async () => {
    expect(() => interProcessLocked('')).toThrow(TypeError);
    expect(() => interProcessLocked('/x', { mechanism: 'none' as never })).toThrow(TypeError);
    expect(() => interProcessLocked('/x')(5 as never)).toThrow(TypeError);
    expect(() =>
      (interProcessLocked('/x') as (value: unknown, context: object) => void)(class {}, { kind: 'class' }),
    ).toThrow(/only methods/);
    await expect(locked('_lock')(async () => {}).call({ _lock: null } as never)).rejects.toThrow(
      'this._lock: expected a lock with withLock(), got null',
    );
    const mutex = new FifoMutex();
    expect(await locked(() => mutex)(async () => mutex.held)()).toBe(true);
  });

  it('pass acquire options on', async () => {
    const file = path();
    const holder = await new InterProcessLock(file).acquire();
    await expect(interProcessLocked(file, { timeout: 1 })(async () => {})()).rejects.toMatchObject({
      code: 'ERR_LOCK_TIMEOUT',
    });
    holder.release();
  });
});

import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { queueFor } from '../../src/backends/path-registry.js';
import { canonicalPath } from '../../src/files/canonical-path.js';
import { testFolder } from '../support/paths.js';
import { until } from '../support/waiting.js';

describe('registry', () => {
  const { folder } = testFolder();

  it('has one name for a path however it is spelled', () => {
    mkdirSync(join(folder, 'real'));
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    const plain = canonicalPath(join(folder, 'real', 'x.lock'), false);
    expect(canonicalPath(join(folder, 'link', 'x.lock'), false)).toBe(plain);
    expect(canonicalPath(join(folder, 'link', 'new', 'deep', 'x.lock'), false)).toBe(
      canonicalPath(join(folder, 'real', 'new', 'deep', 'x.lock'), false),
    );
    symlinkSync('x.lock', join(folder, 'real', 'alias'));
    expect(canonicalPath(join(folder, 'link', 'alias'), true)).toBe(plain);
    expect(canonicalPath(join(folder, 'link', 'alias'), false)).not.toBe(plain);
  });

  it('gives one queue per key, and the same one to another copy of the library', async () => {
    const other: typeof import('../../src/backends/path-registry.js') = await import(
      '../../src/backends/path-registry.js?copy' as never
    );
    expect(other.queueFor).not.toBe(queueFor);
    expect(other.queueFor({ path: '/some/key' })).toBe(queueFor({ path: '/some/key' }));
    expect(queueFor({ path: '/some/key' })).not.toBe(queueFor({ path: '/other/key' }));
  });

  it('forgets queues that no code uses', async () => {
    const weak = (() => new WeakRef(queueFor({ path: '/forgotten' })))();
    await until(() => {
      globalThis.gc?.();
      return weak.deref() === undefined;
    });
  });
});

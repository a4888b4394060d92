/** fairlock/testing: a lock folder of its own for a test. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InterProcessLock, layers, type MechanismName } from '../index.js';
import { closeCachedFiles } from '../inspect/index.js';
import { getLockPath, setDefaults } from '../lockutils/index.js';

export interface TemporaryLockPath extends Disposable, AsyncDisposable {
  /** The folder, which is also lockutils' lock path until it is removed. */
  readonly path: string;
  /** A file in it. */
  file(name: string): string;
  /**
   * Restores lockutils' lock path and removes the folder. Idempotent.
   * @throws {Error} locks in it are still held; it names them. The folder is removed all the same
   */
  remove(): void;
}

/** What calls back at the end of a test: the context of node:test (`after`) or of vitest (`onTestFinished`). */
export interface TestContextLike {
  after?(callback: () => void): unknown;
  onTestFinished?(callback: () => void): unknown;
}

/**
 * A lock folder of its own for a test, and lockutils' lock path set to it.
 *
 * - node:test: `test('…', (t) => { const { path } = temporaryLockPath(t); … })`
 * - vitest: `test('…', (context) => { const { path } = temporaryLockPath(context); … })`, or as a fixture:
 *   `test.extend({ lockPath: async ({}, use) => { using folder = temporaryLockPath(); await use(folder.path); } })`
 * - plainly: `using folder = temporaryLockPath();`
 */
export function temporaryLockPath(context?: TestContextLike): TemporaryLockPath {
  const path = mkdtempSync(join(tmpdir(), 'fairlock-'));
  const before = getLockPath();
  const hadDefault = before !== (process.env.OSLO_LOCK_PATH || undefined);
  setDefaults({ lockPath: path });
  let removed = false;
  const remove = (): void => {
    if (removed) return;
    removed = true;
    const held = heldIn(path);
    setDefaults({ lockPath: hadDefault ? before : undefined });
    closeCachedFiles(); // Some file systems (FUSE) keep a removed file that is open under another name.
    rmSync(path, { recursive: true, force: true });
    if (held.length > 0) throw new Error(`still held at the end of the test: ${held.join(', ')}`);
  };
  if (context?.onTestFinished !== undefined) context.onTestFinished(remove);
  else context?.after?.(remove);
  return {
    path,
    file: (name) => join(path, name),
    remove,
    [Symbol.dispose]: remove,
    [Symbol.asyncDispose]: async () => remove(),
  };
}

/** How often a lock that seems to be held is looked at again, a millisecond apart. */
const CANCELLED_TRIES = 1000;

/** The lock files of a folder that this or another process holds. */
function heldIn(folder: string): string[] {
  const native = layers()['native-fallback'].loaded;
  const mechanisms: MechanismName[] = native ? ['flock', 'fcntl'] : layers()['fs-ext'].loaded ? ['flock'] : [];
  const isHeldNow = (file: string): boolean =>
    mechanisms.some((mechanism) => new InterProcessLock(file, { mechanism, dataFile: true }).isLocked());
  // A wait that was cancelled at the moment of its grant holds the lock until its thread has noticed.
  const isHeld = (file: string): boolean => {
    for (let tries = 0; tries < CANCELLED_TRIES; tries++) {
      if (!isHeldNow(file)) return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
    return true;
  };
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => (entry.isFile() ? !entry.name.endsWith('.fairlock-queue') : entry.name.endsWith('.lock')))
    .map((entry) => ({ entry, file: join(entry.parentPath ?? entry.path, entry.name) }))
    .filter(({ entry, file }) => entry.isDirectory() || isHeld(file))
    .map(({ file }) => file);
}

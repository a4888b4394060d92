/** fairlock/testing: a lock folder of its own for a test, and a lock in memory. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InterProcessLock, type MechanismName } from '../index.js';
import { closeCachedFiles } from '../inspect/index.js';
import { getLockPath, setDefaults } from '../lockutils/index.js';
import { succeeds } from '../quietly.js';

export {
  type Elsewhere,
  type HeldElsewhere,
  type MemoryLock,
  type MemoryLockOptions,
  memoryLock,
} from '../locks/memory-lock.js';

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
  active.enter(path);
  let removed = false;
  const remove = (): void => {
    if (removed) return;
    removed = true;
    const held = heldIn(path);
    active.leave(path);
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

/** Folders of tests that run, which may overlap and end in any order: the lock path is that of the last that is left. */
const active = {
  folders: [] as string[],
  /** What was set before the first of them. */
  before: undefined as string | undefined,

  enter(folder: string): void {
    if (this.folders.length === 0) {
      const set = getLockPath();
      this.before = set === (process.env.OSLO_LOCK_PATH || undefined) ? undefined : set;
    }
    this.folders.push(folder);
    setDefaults({ lockPath: folder });
  },

  leave(folder: string): void {
    this.folders = this.folders.filter((one) => one !== folder);
    setDefaults({ lockPath: this.folders.at(-1) ?? this.before });
  },
};

const NATIVE: MechanismName[] = ['flock', 'fcntl'];

/** The lock files of a folder that this or another process holds. */
function heldIn(folder: string): string[] {
  const lockOf = (file: string, mechanism: MechanismName) => new InterProcessLock(file, { mechanism, dataFile: true });
  const here = NATIVE.filter((mechanism) => succeeds(() => lockOf(folder, mechanism)));
  const isHeld = (file: string): boolean => here.some((mechanism) => lockOf(file, mechanism).isLocked());
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => (entry.isFile() ? !entry.name.endsWith('.fairlock-queue') : entry.name.endsWith('.lock')))
    .map((entry) => ({ entry, file: join(entry.parentPath ?? entry.path, entry.name) }))
    .filter(({ entry, file }) => entry.isDirectory() || isHeld(file))
    .map(({ file }) => file);
}

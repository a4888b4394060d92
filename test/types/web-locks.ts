// Compiled, never run: what lib.dom calls a LockManager, ours is, and the other way round where they overlap.
/// <reference lib="dom" />
import type {
  LockInfo,
  LockManager,
  LockManagerSnapshot,
  LockOptions,
  Lock as OurLock,
} from '../../src/web-locks/index.js';

declare const ours: LockManager;

/** A drop-in for `navigator.locks`. */
const locks: globalThis.LockManager = ours;
const snapshot: Promise<globalThis.LockManagerSnapshot> = ours.query();
const theirOptions: globalThis.LockOptions = {} as LockOptions;
const ourOptions: LockOptions = {} as globalThis.LockOptions;
const theirInfo: globalThis.LockInfo = {} as LockInfo;
const ourInfo: LockInfo = {} as globalThis.LockInfo;
const theirSnapshot: globalThis.LockManagerSnapshot = {} as LockManagerSnapshot;
const theirLock: globalThis.Lock = {} as OurLock;

// A function written for one takes the other.
async function save(manager: Pick<globalThis.LockManager, 'request' | 'query'>): Promise<number> {
  const length: number = await manager.request('n', { mode: 'shared' }, async (lock) =>
    lock === null ? 0 : lock.name.length,
  );
  return length + (await manager.request('n', () => 1));
}
void save(ours);

// @ts-expect-error a mode that is none
ours.request('n', { mode: 'foo' }, () => {});
// @ts-expect-error no callback
ours.request('n');

export { locks, ourInfo, ourOptions, snapshot, theirInfo, theirLock, theirOptions, theirSnapshot };

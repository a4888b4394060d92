/** A kind of lock of the kernel, `flock` or `fcntl`, and the layer that does it on an open file. */
import type { Capabilities } from '../../core/backend.js';
import type { LockFileOptions } from '../../files/lock-file.js';
import type { OpenFile } from '../../files/open-file.js';
import type { LockAddon } from '../../native/addon.js';
import { NativeFile, type NativeFileOptions } from '../../native/native-file.js';

export interface Mechanism {
  readonly name: 'flock' | 'fcntl';
  readonly layers: Capabilities['layers'];
  /** Cached descriptors are used by locks of the same key only. */
  readonly key: string;
  /** Waits in the kernel; undefined: waiters have to poll. */
  readonly addon: LockAddon | undefined;
  /** Gives a file that was just opened its `lock`. */
  prepare(file: OpenFile): void;
}

export function keyOf(
  name: Mechanism['name'],
  { followSymlinks, path }: LockFileOptions,
  range?: NativeFileOptions['range'],
): string {
  return [name, range?.start, range?.length, followSymlinks, path].join();
}

export class ByAddon implements Mechanism {
  readonly layers: Capabilities['layers'] = { lock: 'native-fallback', wait: 'native-fallback' };
  readonly name: 'flock' | 'fcntl';
  readonly key: string;
  readonly #options: NativeFileOptions;

  constructor(
    file: LockFileOptions,
    readonly addon: LockAddon,
    /** Undefined: the whole file by `flock`. */
    range: NativeFileOptions['range'],
  ) {
    this.name = range === undefined ? 'flock' : 'fcntl';
    this.key = keyOf(this.name, file, range);
    this.#options = { path: file.path, followSymlinks: file.followSymlinks, range };
  }

  prepare(file: OpenFile): void {
    file.native = new NativeFile(this.addon, file.fd, this.#options);
  }
}

/**
 * Open lock files that are not locked at the moment, kept for the next acquisition of the same path: opening costs more
 * than locking. Few per path, bounded in all, closed after a moment of idleness: an open file keeps its volume from
 * being unmounted. Only files that are nothing but lock files are kept: see OpenFile.keepable.
 */
import { succeeds } from '../quietly.js';
import { clearInterval, setInterval, unref } from '../timers.js';
import type { OpenFile } from './open-file.js';

const PER_PATH = 2;
const IN_ALL = 64;
const SWEEP_MS = 500;

export class DescriptorCache {
  readonly #files: OpenFile[] = [];
  /** @internal */ registered = false;
  /** Used since the last sweep. */
  #used = false;

  /** Another spelling of the path, another range or mechanism makes another key: such a file is of no use. */
  take(key: string, needsWrite: boolean): OpenFile | undefined {
    for (let file = this.#files.pop(); file !== undefined; file = this.#files.pop()) {
      if (file.key === key && (file.writable || !needsWrite)) return file;
      file.close();
    }
    return undefined;
  }

  put(key: string, file: OpenFile): void {
    if (!file.keepable || this.#files.length >= PER_PATH) return file.close();
    // First what may throw: a file that is closed must not be in the list.
    if (!this.registered && !succeeds(() => register(this))) return file.close();
    file.key = key;
    this.#files.push(file);
    this.#used = true;
  }

  /** Whether there was one. */
  clear(): boolean {
    const files = this.#files.splice(0);
    for (const file of files) file.close();
    registered.delete(this);
    this.registered = false;
    return files.length > 0;
  }

  /** @internal Closes what was not used since the last sweep. */
  sweep(): void {
    if (!this.#used) this.clear();
    this.#used = false;
  }
}

const registered = new Set<DescriptorCache>();
let sweeper: NodeJS.Timeout | undefined;

/** Closes all of this thread: where descriptors have run out, or a folder is to be removed. Whether there were any. */
export function closeCachedFiles(): boolean {
  let any = false;
  for (const cache of [...registered]) any = cache.clear() || any;
  return any;
}

/** A path stays registered while its file is in use, so that the loop of one path pays one look-up, no more. */
function register(cache: DescriptorCache): void {
  sweeper ??= unref(setInterval(sweepAll, SWEEP_MS));
  cache.registered = true;
  registered.add(cache);
  if (registered.size > IN_ALL) {
    const [oldest] = registered;
    oldest?.clear();
  }
}

function sweepAll(): void {
  for (const cache of registered) cache.sweep();
  if (registered.size > 0) return;
  clearInterval(sweeper);
  sweeper = undefined;
}

/** Tells when what is locked is no longer what is at its path. Keeps no process alive. */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { quietly } from '../quietly.js';
import { clearInterval, setInterval, unref } from '../timers.js';

/** For what no file event tells of: other file systems than Linux's own, a folder moved away, no watches left. */
const CHECK_MS = 1000;

export function watchForLoss(path: string, isOurs: () => boolean, lost: () => void): () => void {
  const folder = watchedFolder(dirname(path));
  const name = basename(path);
  const end = (): void => folder.leave(name, check);
  const check = (): void => {
    try {
      if (isOurs()) return;
    } catch {
      return; // Cannot tell now (an unreachable folder, say): the next check may.
    }
    end();
    lost();
  };
  folder.join(name, check);
  check();
  return end;
}

/** By device and inode, since another folder of the same name needs a watch of its own. */
const folders = new Map<string, WatchedFolder>();

function watchedFolder(path: string): WatchedFolder {
  const stat = statSync(path, { throwIfNoEntry: false });
  const key = `${stat?.dev}:${stat?.ino}`;
  const known = folders.get(key);
  if (known !== undefined && !known.gone) return known;
  const fresh = new WatchedFolder(path, () => {
    if (folders.get(key) === fresh) folders.delete(key);
  });
  folders.set(key, fresh);
  return fresh;
}

/**
 * One watch for all that is locked in a folder: with a watch each, all of them would hear of each that comes or goes.
 * It is kept for a moment after the last has left, since the next one comes soon.
 */
class WatchedFolder {
  /** Something happened to the folder itself: it may be another one that has its inode number by now. */
  gone = false;
  readonly #checks = new Map<string, Set<() => void>>();
  readonly #watcher: FSWatcher | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(path: string, ended: () => void) {
    this.#watcher = watchQuietly(path, (name) => {
      if (name === null || name === basename(path)) {
        this.gone = true;
        this.#checkAll();
      } else {
        for (const check of [...(this.#checks.get(name) ?? [])]) check();
      }
    });
    this.#timer = unref(
      setInterval(() => {
        this.#checkAll();
        if (this.#checks.size > 0) return;
        clearInterval(this.#timer);
        quietly(() => this.#watcher?.close());
        ended();
      }, CHECK_MS),
    );
  }

  join(name: string, check: () => void): void {
    const checks = this.#checks.get(name) ?? new Set();
    this.#checks.set(name, checks.add(check));
  }

  leave(name: string, check: () => void): void {
    const checks = this.#checks.get(name);
    if (checks?.delete(check) && checks.size === 0) this.#checks.delete(name);
  }

  #checkAll(): void {
    for (const checks of [...this.#checks.values()]) for (const check of [...checks]) check();
  }
}

/** Watches are a scarce resource and an extra here: without one, the timer does. */
function watchQuietly(path: string, changed: (name: string | null) => void): FSWatcher | undefined {
  return quietly(() => {
    const watcher = watch(path, { persistent: false }, (_event, name) => changed(name));
    return watcher.on('error', () => quietly(() => watcher.close()));
  });
}

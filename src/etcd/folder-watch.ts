/**
 * What is deleted of a lock's keys: told to the request that is the next in the queue. It is kept for a moment, since a
 * process that contends is the next again soon: a watch that began before the request's key was written has missed
 * nothing, so no look at the queue is needed.
 */
import { clearTimeout, setTimeout } from '../timers.js';
import { nameOf, type Seen, type Watcher } from './watcher.js';

const LINGER_MS = 50;

/** The keys of one lock. */
export interface Folder {
  readonly key: Buffer;
  readonly range_end: Buffer;
}

export class FolderWatches {
  readonly #watches = new Map<string, FolderWatch>();

  constructor(private readonly watcher: Watcher) {}

  /** Undefined: it is not watched now. */
  listenIfWatched(folder: Folder): Deletions | undefined {
    return this.#watches.get(nameOf(folder.key))?.listen();
  }

  listen(folder: Folder): Deletions {
    const name = nameOf(folder.key);
    let watch = this.#watches.get(name);
    if (watch === undefined) {
      watch = new FolderWatch(this.watcher, folder, () => this.#watches.delete(name));
      this.#watches.set(name, watch);
    }
    return watch.listen();
  }

  /** Those that are only kept for a moment. */
  close(): void {
    for (const watch of [...this.#watches.values()]) watch.endIfUnused();
  }
}

class FolderWatch {
  readonly #listeners = new Set<Deletions>();
  readonly #end: () => void;
  #lingering: ReturnType<typeof setTimeout> | undefined;

  constructor(
    watcher: Watcher,
    folder: Folder,
    private readonly onEnd: () => void,
  ) {
    this.#end = watcher.watch(folder.key, (has, keys) => this.#seen(has, keys), folder.range_end);
  }

  listen(): Deletions {
    clearTimeout(this.#lingering);
    const listener = new Deletions(() => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#linger();
    });
    this.#listeners.add(listener);
    return listener;
  }

  endIfUnused(): void {
    if (this.#listeners.size > 0) return;
    clearTimeout(this.#lingering);
    this.onEnd();
    this.#end();
  }

  #linger(): void {
    this.#lingering = setTimeout(() => this.endIfUnused(), LINGER_MS);
  }

  #seen(has: Seen, keys: readonly Buffer[]): void {
    for (const listener of [...this.#listeners]) listener.seen(has, keys);
  }
}

/** What was deleted since a request listens. */
export class Deletions {
  readonly #deleted = new Set<string>();
  #mustLook = false;
  #changed: () => void = () => {};

  constructor(readonly end: () => void) {}

  /** The watch has begun, perhaps anew: what was deleted before that was not told, and a look at the queue tells. */
  get mustLook(): boolean {
    return this.#mustLook;
  }

  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  has(key: Buffer): boolean {
    return this.#deleted.has(nameOf(key));
  }

  /** A look has begun: it sees what was deleted until now. */
  looks(): void {
    this.#mustLook = false;
  }

  /** @internal */
  seen(has: Seen, keys: readonly Buffer[]): void {
    for (const key of keys) this.#deleted.add(nameOf(key));
    if (has === 'begun') this.#mustLook = true;
    this.#changed();
  }
}

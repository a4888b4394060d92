/** Tells when what is locked is no longer what is at its path. Keeps no process alive. */
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';

/** For what no file event tells of: other file systems than Linux's own, a folder moved away, no watches left. */
const CHECK_MS = 1000;

export function watchForLoss(path: string, isOurs: () => boolean, lost: () => void): () => void {
  let ended = false;
  const end = (): void => {
    ended = true;
    clearInterval(timer);
    for (const watcher of watchers) watcher.close();
  };
  const check = (): void => {
    if (ended) return;
    try {
      if (isOurs()) return;
    } catch {
      return; // Cannot tell now (an unreachable folder, say): the next check may.
    }
    end();
    lost();
  };
  const timer = setInterval(check, CHECK_MS).unref();
  const watchers = [watchQuietly(path, check), watchQuietly(dirname(path), check, basename(path))].filter((one) => one !== undefined);
  check();
  return end;
}

/** Watches are a scarce resource and an extra here: without one, the timer does. */
function watchQuietly(path: string, check: () => void, only?: string): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, (_event, name) => {
      if (only === undefined || name === null || name === only) check();
    });
    return watcher.on('error', () => watcher.close());
  } catch {
    return undefined;
  }
}

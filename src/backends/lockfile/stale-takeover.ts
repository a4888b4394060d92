/**
 * The file system as proper-lockfile sees it through its `fs` option, with a cure for two races of its own.
 *
 * Stale takeover. proper-lockfile removes a stale folder, then makes its own. The race: 1. Processes A and B find the
 * same folder stale. 2. A removes it and makes a fresh one. 3. B removes that fresh one and makes another: two holders.
 * Here a process that is to remove a stale folder first claims that very instance of it, by making a folder named after
 * it, which only one process can; then it looks again, and removes the folder only if it is still that instance.
 *
 * Release after loss. An owner that was stopped for longer than `stale` and then releases before its next heartbeat
 * would remove its successor's folder: so a process removes only the instance that it made.
 *
 * What stays open: an owner that revives between the second look and the removal, and processes that use plain
 * proper-lockfile, which claim nothing.
 */
import nodeFs from 'node:fs';
import { codeOf, systemError } from '../../errors.js';
import { quietly } from '../../quietly.js';
import { builtins } from '../../require.js';

export type SyncFs = Pick<typeof nodeFs, 'mkdirSync' | 'rmdirSync' | 'statSync' | 'utimesSync' | 'realpathSync'>;
const { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync } = nodeFs;
const NODE_FS: SyncFs = { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync };

export interface TakeoverFs extends Record<string, unknown> {
  /** Whether what is at the path is still the folder we made and kept fresh. */
  isOurs(path: string): boolean;
  /** Removes the folder if it is ours, or the stale one that was seen last. */
  rmdirSync(path: string): void;
}

/**
 * Tells a folder from its successor at the same path. The inode number comes back at once on ext4, and
 * proper-lockfile's first mtime is a full second, the same for two folders of that second: so the ctime too, which
 * no program can set.
 */
export function instanceOf({ ino, mtimeNs, ctimeNs }: nodeFs.BigIntStats): string {
  return `${ino}-${mtimeNs}-${ctimeNs}`;
}

/** One per attempt to lock: it remembers which folder this process made. */
export function takeoverFs(staleMs: number, fs: SyncFs = NODE_FS): TakeoverFs {
  let seen: string | undefined;
  let ours: string | undefined;

  const instance = (path: string): string => instanceOf(fs.statSync(path, { bigint: true }));

  const isOurs = (path: string): boolean => {
    try {
      return instance(path) === ours;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
  };

  return {
    isOurs,
    realpathSync: fs.realpathSync,
    mkdirSync(path: string): void {
      fs.mkdirSync(path);
      ours = instance(path);
    },
    utimesSync(path: string, atime: Date, mtime: Date): void {
      fs.utimesSync(path, atime, mtime);
      ours = instance(path);
    },
    statSync(path: string): { mtime: Date } {
      const stat = fs.statSync(path, { bigint: true });
      if (!stat.isDirectory()) throw systemError(builtins.errno.ENOTDIR, 'mkdir', path);
      seen = instanceOf(stat);
      // proper-lockfile compares with the time that it set, in whole ms. Node sets some ns less for half of all values;
      // Stats rounds, as here, and BigIntStats would cut.
      return { mtime: new Date(Math.round(Number(stat.mtimeNs) / 1e6)) };
    },
    rmdirSync(path: string): void {
      if (ours === undefined) removeStale(path, seen ?? instance(path));
      else if (isOurs(path)) fs.rmdirSync(path);
    },
  };

  function removeStale(path: string, stale: string): void {
    const claims = claim(`${path}.takeover-${stale}`);
    try {
      if (instance(path) !== stale) throw taken(path);
      fs.rmdirSync(path);
    } finally {
      for (const one of claims) quietly(() => fs.rmdirSync(one)); // Another process, which claimed it after us, may have.
    }
  }

  /** A claim whose maker died is claimed in turn, by a folder named for that instance of it: never removed first. */
  function claim(name: string): string[] {
    try {
      fs.mkdirSync(name);
      return [name];
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const stat = statOrUndefined(name);
    if (stat === undefined || Number(stat.mtimeMs) > Date.now() - staleMs) throw taken(name);
    return [...claim(`${name}-${instanceOf(stat)}`), name];
  }

  function statOrUndefined(path: string): nodeFs.BigIntStats | undefined {
    return fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  }
}

/** The error of proper-lockfile itself for a lock that is held. */
function taken(path: string): Error {
  return Object.assign(new Error(`'${path}' was taken over by another process`), { code: 'ELOCKED' });
}

/**
 * The file system as proper-lockfile sees it through its `fs` option, with a cure for two races of its own.
 *
 * Takeover. proper-lockfile finds a stale folder and removes it, then makes its own. Two that find it stale at the
 * same time: the first removes it and makes a fresh one; the second removes *that* and makes another: two holders.
 * Here who removes a folder that is not ours first claims that very instance of it by making a folder of that name,
 * which only one can; then looks again, and removes it only if it is still that instance.
 *
 * Release after loss. An owner that was stopped for longer than `stale` and then releases before its next heartbeat
 * would remove its successor's folder: so only our own instance is removed.
 *
 * What stays open: an owner that revives between the second look and the removal, and users of plain proper-lockfile,
 * who claim nothing.
 */
import * as nodeFs from 'node:fs';
import { codeOf, systemError } from '../../errors.js';

export type SyncFs = Pick<typeof nodeFs, 'mkdirSync' | 'rmdirSync' | 'statSync' | 'utimesSync' | 'realpathSync'>;
const { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync } = nodeFs;
const NODE_FS: SyncFs = { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync };
const ENOTDIR = 20;

export interface TakeoverFs extends Record<string, unknown> {
  /** Whether what is at the path is still the folder we made and kept fresh. */
  isOurs(path: string): boolean;
  /** Removes the folder if it is ours, or the stale one that was seen last. */
  rmdirSync(path: string): void;
}

/**
 * Tells a folder from its successor at the same path. The inode number comes back at once on ext4, and
 * proper-lockfile's first mtime is a full second, the same for two folders of that second: so the ctime too, which
 * nobody can set.
 */
export function instanceOf({ ino, mtimeNs, ctimeNs }: nodeFs.BigIntStats): string {
  return `${ino}-${mtimeNs}-${ctimeNs}`;
}

/** One per attempt to lock: it remembers which folder is whose. */
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
      if (!stat.isDirectory()) throw systemError(ENOTDIR, 'mkdir', path);
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
      for (const one of claims) dropClaim(one);
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

  function dropClaim(name: string): void {
    try {
      fs.rmdirSync(name);
    } catch {
      // Dropped by who claimed it after us.
    }
  }

  function statOrUndefined(path: string): nodeFs.BigIntStats | undefined {
    return fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  }
}

/** What proper-lockfile itself says of a lock that somebody has. */
function taken(path: string): Error {
  return Object.assign(new Error(`'${path}' was taken over by another process`), { code: 'ELOCKED' });
}

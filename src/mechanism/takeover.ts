/**
 * The file system as proper-lockfile sees it through its `fs` option, with a cure for two races of its own.
 *
 * Takeover. proper-lockfile finds a stale folder and removes it, then makes its own. Two that find it stale at the
 * same time: the first removes it and makes a fresh one; the second removes *that* and makes another: two holders.
 * Here who removes a folder that is not ours first claims that very instance of it (inode and mtime) by making a
 * folder of that name, which only one can; then looks again, and removes it only if it is still that instance.
 *
 * Release after loss. An owner that was stopped for longer than `stale` and then releases before its next heartbeat
 * would remove its successor's folder: so only our own instance is removed.
 *
 * What stays open: an owner that revives between the second look and the removal, and users of plain proper-lockfile,
 * who claim nothing.
 */
import * as nodeFs from 'node:fs';
import { codeOf, systemError } from '../errors.js';

export type SyncFs = Pick<typeof nodeFs, 'mkdirSync' | 'rmdirSync' | 'statSync' | 'utimesSync' | 'realpathSync'>;
const { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync } = nodeFs;
const NODE_FS: SyncFs = { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync };
const ENOTDIR = 20;

/** One per attempt to lock: it remembers which folder is whose. */
export function takeoverFs(staleMs: number, fs: SyncFs = NODE_FS): object {
  let seen: string | undefined;
  let ours: string | undefined;

  const instance = (path: string): string => {
    const stat = fs.statSync(path, { bigint: true });
    return `${stat.ino}-${stat.mtimeNs}`;
  };

  return {
    realpathSync: fs.realpathSync,
    mkdirSync(path: string): void {
      fs.mkdirSync(path);
      ours = instance(path);
    },
    utimesSync(path: string, atime: Date, mtime: Date): void {
      fs.utimesSync(path, atime, mtime);
      ours = instance(path);
    },
    statSync(path: string): nodeFs.BigIntStats {
      const stat = fs.statSync(path, { bigint: true });
      if (!stat.isDirectory()) throw systemError(ENOTDIR, 'mkdir', path);
      seen = `${stat.ino}-${stat.mtimeNs}`;
      return stat;
    },
    rmdirSync(path: string): void {
      if (ours === undefined) removeStale(path, seen ?? instance(path));
      else if (instance(path) === ours) fs.rmdirSync(path);
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
    return [...claim(`${name}-${stat.ino}-${stat.mtimeNs}`), name];
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

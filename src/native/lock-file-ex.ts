/**
 * `LockFileEx` in the shape of the addon of other systems: what locks of whole files need of it. Tickets and ranges are
 * refused before (`needByteRanges`).
 */
import { fstatSync, lstatSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { type Addon, CONTENDED, type FileHandle, GRANTED, type LockFileEx, REPLACED } from './addon.js';

const { EIO, EACCES, EBADF, EAGAIN, ENOTSUP, ECANCELED } = constants.errno;

/** The errors of Windows that tell something; the others are EIO. */
const ERRNO = new Map([
  [1, ENOTSUP], // ERROR_INVALID_FUNCTION: a file system without locks
  [5, EACCES],
  [6, EBADF],
  [8, EAGAIN], // no thread, or no memory for one
  [50, ENOTSUP],
  [995, ECANCELED],
]);

/** What `file` returns. */
interface OpenHandle {
  readonly fd: number;
  readonly path: string;
  readonly follow: boolean;
  readonly dev: bigint;
  readonly ino: bigint;
}

type Needed =
  | 'hasOfd'
  | 'file'
  | 'isCurrent'
  | 'tryLock'
  | 'unlock'
  | 'isLocked'
  | 'isProbed'
  | 'connect'
  | 'wait'
  | 'waitSync'
  | 'join'
  | 'cancel';

const addons = new WeakMap<LockFileEx, Addon>();

export function asAddon(api: LockFileEx): Addon {
  const known = addons.get(api) ?? adapt(api);
  addons.set(api, known);
  return known;
}

function adapt(api: LockFileEx): Addon {
  const of = (handle: FileHandle): OpenHandle => handle as unknown as OpenHandle;
  const status = (told: number): number => (told >= 0 ? told : -(ERRNO.get(-told) ?? EIO));
  const atPath = ({ path, follow, dev, ino }: OpenHandle): boolean => {
    const stat = (follow ? statSync : lstatSync)(path, { bigint: true, throwIfNoEntry: false });
    return stat !== undefined && stat.dev === dev && stat.ino === ino;
  };
  const ifAtPath = (handle: OpenHandle, result: number): number => (result < 0 || atPath(handle) ? result : REPLACED);
  const files = new Map<number, OpenHandle>();

  const needed: Pick<Addon, Needed> = {
    hasOfd: false,
    file(fd, path, follow) {
      const { dev, ino } = fstatSync(fd, { bigint: true });
      return { fd, path, follow, dev, ino } satisfies OpenHandle as unknown as FileHandle;
    },
    isCurrent: (file) => (atPath(of(file)) ? GRANTED : REPLACED),
    tryLock: (file, shared) => ifAtPath(of(file), status(api.tryLock(of(file).fd, shared))),
    unlock: (file) => status(api.unlock(of(file).fd)),
    // There is no such question: it is tried, exclusively, which tells of shared ones too.
    isLocked(file) {
      const tried = status(api.tryLock(of(file).fd, false));
      if (tried === GRANTED) api.unlock(of(file).fd);
      return tried < 0 || tried === GRANTED ? tried : CONTENDED;
    },
    isProbed: () => false,
    connect(callback) {
      const client = api.connect(() => {
        for (let wait = api.ended(client); wait >= 0; wait = api.ended(client)) {
          const result = status(api.end(wait));
          const file = files.get(wait);
          files.delete(wait);
          callback(wait, file === undefined ? result : ifAtPath(file, result));
        }
      });
      return client;
    },
    wait: (client, file, _sidecar, shared) => waiting(of(file as FileHandle), api.wait, shared, client),
    waitSync: (client, file, _sidecar, shared) => waiting(of(file), api.waitSync, shared, client),
    join(wait, ms) {
      const result = api.join(wait, ms);
      return result === undefined ? undefined : over(wait, result);
    },
    cancel(wait) {
      const result = api.cancel(wait);
      return result === undefined ? undefined : over(wait, result);
    },
  };

  function waiting(file: OpenHandle, start: LockFileEx['wait'], shared: boolean, client: number): number {
    const wait = status(start(file.fd, shared, client));
    if (wait >= 0) files.set(wait, file);
    return wait;
  }

  function over(wait: number, result: number): number {
    const file = files.get(wait);
    files.delete(wait);
    const told = status(result);
    return file === undefined ? told : ifAtPath(file, told);
  }

  return needed as Addon;
}

/** The addon: what its glue in native-fallback/src offers. */
import { LockUnsupportedError } from '../errors.js';
import { lockPath } from '../validate.js';
import { loadBinary, nameBinary } from './binary.js';
import { type Loaded, loader } from './loader.js';

/** What the addon makes of an open descriptor; freed by the garbage collector. */
export type FileHandle = object & { readonly fileHandle: unique symbol };

/** Answers of the addon. Anything below zero is a negated errno. */
export const GRANTED = 0;
export const CONTENDED = 1;
/** The open file is not the one at the path any more (and may have been locked). */
export const REPLACED = 2;
/** The sidecar was removed. */
export const REMOVED = 3;
/** A ticket was taken, and no other process has one. */
export const FIRST = 4;

export const FOR_LOCK = 0;
/** Takes a ticket as soon as no other process is taking one, and no more. */
export const FOR_TICKET = 1;
/** Its end is not told, but asked for by `join`. */
export const JOINED = 2;
export type WaitKind = typeof FOR_LOCK | typeof FOR_TICKET | typeof JOINED;

/** What the locks of a system cannot do, and why. */
export type Limits = Readonly<Record<'steal' | 'inherit' | 'directories', string>>;

/** What locks, waits and tickets need: every platform fills it. Waits are numbers; below zero, a negated errno. */
export interface LockAddon {
  readonly hasOfd: boolean;
  /** Undefined: none. */
  readonly limits?: Limits;
  /** The descriptor stays the caller's. */
  file(fd: number, path: string, follow: boolean, ofd: boolean, start: number, length: number): FileHandle | number;
  isCurrent(file: FileHandle): number;
  tryLock(file: FileHandle, shared: boolean): number;
  unlock(file: FileHandle): number;
  /** Waits for its turn in the ticket queue, if a sidecar is given, then for the lock, if a file is given. */
  wait(
    client: number,
    file: FileHandle | undefined,
    sidecar: FileHandle | undefined,
    shared: boolean,
    kind: WaitKind,
  ): number;
  /** The status of a wait that is JOINED; undefined: it still waits after `ms`. */
  join(wait: number, ms: number): number | undefined;
  /**
   * The status with which the wait has ended, which is told nowhere else: GRANTED, if that was just before. Undefined: it
   * cannot be interrupted and goes on, but keeps no process alive. Then its end is told.
   */
  cancel(wait: number): number | undefined;
  /** The number of a client; the callback is told of each of its waits that has ended. */
  connect(callback: (wait: number, status: number) => void): number;
  /** Like `tryLock`, but contended where any request has a ticket. REMOVED: `probe` is not the sidecar any more. */
  tryIfQueueEmpty(file: FileHandle, probe: FileHandle, shared: boolean): number;
  /** Like `tryLock`, with a ticket: contended where another request has an earlier one. */
  tryIfFirst(file: FileHandle, sidecar: FileHandle, shared: boolean): number;
  /** GRANTED or FIRST; CONTENDED: another process is taking a ticket; -EBUSY: the locks of another process leave none. */
  takeTicket(sidecar: FileHandle, shared: boolean): number;
  /** GRANTED: no request has an earlier ticket (or, if this one has none, any). Else CONTENDED or REMOVED. */
  isFirst(sidecar: FileHandle): number;
  dropTicket(sidecar: FileHandle): void;
  removeSidecar(sidecar: FileHandle): number;
  /** The first of its bytes that another open file has locked, shared or not; undefined: none. Below zero: an errno. */
  conflict(file: FileHandle): number | undefined;
  /** CONTENDED: another open file has a lock on it. With `flock` the lock is taken for some microseconds. */
  isLocked(file: FileHandle): number;
  /**
   * Whether another process is asking `isLocked` of a `flock` at this moment, which may be why a try failed. Undefined:
   * nothing tells.
   */
  isProbed(file: FileHandle): boolean | undefined;
}

/** The whole addon, which Windows has not. */
export interface Addon extends LockAddon {
  /** Sets the actions of signals, beneath Node's, and that none is blocked in this thread. */
  setSignals(defaults: number[], ignored: number[]): void;
  /**
   * Becomes the program that `words` name, each of them ended by a zero byte, which inherits `fd` as `as`. Returns only if
   * that fails, with a negated errno.
   */
  exec(words: Buffer, fd: number, as: number, inherited: number[]): number;
  /** Sets the soft limit of open files; a negated errno if that is refused. */
  limitDescriptors(soft: number): number;
  /** Whether the descriptor is to be closed when this environment ends: for runtimes that do not do it themselves. */
  closeAtEnd(fd: number, yes: boolean): void;
  /** Publishes a text to the other threads of this process. Its place. */
  publish(text: string): number;
  unpublish(place: number): void;
  /** What the other threads have published. */
  published(): string[];
  /** Whether the connection is closed or broken, as far as the kernel knows: before the event loop is told. */
  hasHungUp(fd: number): boolean;
  /** How many threads there are, parked or kept for re-use. */
  threads(): number;
}

export const loadLocks = loader('native-fallback', (): LockAddon => loadBinary() as LockAddon);

export function loadAddon(): Loaded<Addon> {
  const { api, reason } = loadLocks();
  if (api === undefined) return { reason };
  return isWhole(api) ? { api } : { reason: 'on Windows it has locks and nothing else' };
}

function isWhole(addon: LockAddon): addon is Addon {
  return 'exec' in addon;
}

/**
 * Names the file of the addon's binary, for programs that are bundled and carry it along: the package has it as
 * `fairlock/prebuilds/<platform>-<arch>.node`. To be called before the first lock is made.
 * @throws {TypeError} not a path
 * @throws {Error} the binary does not load, or it was looked for already
 */
export function setNativeBinding(file: string | URL): void {
  const path = lockPath(file);
  nameBinary(path);
  const { reason } = loadLocks();
  if (reason !== undefined) throw new Error(`cannot load '${path}': ${reason}`);
}

/** The addon, for what cannot be done without its byte-range locks. @throws {LockUnsupportedError} */
export function needByteRanges(path: string, what: string, load: () => Loaded<LockAddon> = loadLocks): LockAddon {
  const { api: addon, reason } = load();
  if (addon === undefined) {
    throw new LockUnsupportedError(path, `${what} needs the addon native-fallback, which did not load: ${reason}`);
  }
  if (!addon.hasOfd) {
    const why = `${what} needs open-file-description locks, which this ${process.platform} does not have`;
    throw new LockUnsupportedError(path, why);
  }
  return addon;
}

/** The addon: parked waits that can be cancelled, byte-range locks, try and identity check in one call. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LockUnsupportedError, messageOf } from '../errors.js';
import { loader } from './loader.js';

/** What the addon makes of an open descriptor; it goes with the garbage. */
export type NativeFile = object & { readonly nativeFile: unique symbol };

/** Anything below zero is a negated errno. */
export const GRANTED = 0;
export const CONTENDED = 1;
/** The open file is not the one at the path any more (and may have been locked). */
export const REPLACED = 2;
/** The sidecar was removed, and the lock let go. */
export const REMOVED = 3;

/** What the glue in `native-fallback/src` offers. Waits are numbers; below zero, a negated errno. */
export interface NativeFallback {
  readonly hasOfd: boolean;
  file(fd: number, path: string, follow: boolean, ofd: boolean, start: number, length: number): NativeFile;
  isCurrent(file: NativeFile): number;
  tryLock(file: NativeFile, shared: boolean): number;
  unlock(file: NativeFile): number;
  /** For its turn in the line, if there is one, then for the file, if there is one. */
  wait(client: number, file: NativeFile | undefined, line: NativeFile | undefined, shared: boolean): number;
  waitSync(client: number, file: NativeFile, line: NativeFile | undefined, shared: boolean): number;
  join(wait: number, ms: number): number | undefined;
  cancel(wait: number): boolean;
  adopt(wait: number): void;
  /** The number of a client; the callback is told of each of its waits that is over. */
  connect(callback: (wait: number, status: number) => void): number;
  /** Like `tryLock`, but contended where anybody stands in line; REMOVED: `probe` is not the sidecar any more. */
  tryFirst(file: NativeFile, probe: NativeFile, shared: boolean): number;
  /** Like `tryLock`, for who has a ticket: contended where anybody has an earlier one. */
  tryTurn(file: NativeFile, line: NativeFile, shared: boolean): number;
  /** Takes a ticket. CONTENDED: another process is taking one; -EBUSY: locks of another process leave none. */
  draw(line: NativeFile, shared: boolean): number;
  /** Takes a ticket as soon as no other process is taking one. */
  waitToDraw(client: number, line: NativeFile, shared: boolean): number;
  /** GRANTED: nobody has an earlier ticket (or, without a ticket, any). Else CONTENDED or REMOVED. */
  isFirst(line: NativeFile): number;
  /** The first of its bytes that another open file has locked, shared or not; undefined: none. Below zero, a negated errno. */
  conflict(file: NativeFile): number | undefined;
  /** CONTENDED: another open file has a lock on it, shared or not. With `flock` the lock is taken for some microseconds. */
  isLocked(file: NativeFile): number;
  /** Whether another process is asking `isLocked` of a `flock` at this moment, which may be why a try failed. */
  isProbed(file: NativeFile): boolean;
  drop(line: NativeFile): void;
  removeSidecar(line: NativeFile): number;
  /** Becomes another program, which inherits the descriptor `fd` as `as`. Returns only if that fails, with a negated errno. */
  exec(
    file: string,
    argv: string[],
    envp: string[],
    fd: number,
    as: number,
    inherited: number[],
    ignored: number[],
  ): number;
  /** Sets the soft limit of open files; a negated errno if that is refused. */
  limitDescriptors(soft: number): number;
  /** Whether the descriptor is to be closed when this environment ends: for runtimes that do not do it themselves. */
  closeAtEnd(fd: number, yes: boolean): void;
  /** Puts a text up where the other threads of this process can read it. Its place. */
  post(text: string): number;
  removePost(place: number): void;
  /** What the other threads have put up. */
  posts(): string[];
  /** How many threads there are, parked or kept for re-use. */
  threads(): number;
}

/** What this copy of the library is called back by, and the waits it is called back for. Other copies have their own. */
interface Client {
  readonly id: number;
  /** What an entry refers to, its files too, lives as long as the wait. */
  readonly waits: Map<number, NativeWait>;
}

const clients = new WeakMap<NativeFallback, Client>();

function clientOf(addon: NativeFallback): Client {
  const known = clients.get(addon);
  if (known !== undefined) return known;
  const waits = new Map<number, NativeWait>();
  const id = addon.connect((wait, status) => {
    const finished = waits.get(wait);
    waits.delete(wait);
    finished?.callback(status);
  });
  const client = { id, waits };
  clients.set(addon, client);
  return client;
}

/** A wait on a thread of the addon. */
export class NativeWait {
  readonly #id: number;
  readonly #client: Client;

  /**
   * For its turn in the line, if there is one, then for the file, if there is one; or, with `draw`, for a ticket.
   * @throws system errors: EMFILE (no descriptor), EAGAIN (no thread)
   */
  constructor(
    private readonly addon: NativeFallback,
    readonly files: {
      readonly file?: NativeFile | undefined;
      readonly line?: NativeFile | undefined;
      readonly draw?: boolean;
    },
    shared: boolean,
    error: (errno: number) => Error,
    readonly callback: (status: number) => void,
  ) {
    const { file, line, draw } = files;
    this.#client = clientOf(addon);
    const { id: client, waits } = this.#client;
    this.#id =
      draw && line !== undefined ? addon.waitToDraw(client, line, shared) : addon.wait(client, file, line, shared);
    if (this.#id < 0) throw error(-this.#id);
    waits.set(this.#id, this);
  }

  /** False: it cannot be interrupted and goes on, but keeps no process alive. */
  cancel(): boolean {
    const { waits } = this.#client;
    if (waits.get(this.#id) !== this) return true;
    const cancelled = this.addon.cancel(this.#id);
    if (cancelled) waits.delete(this.#id);
    return cancelled;
  }

  adopt(): void {
    this.addon.adopt(this.#id);
  }
}

/** A wait that blocks this thread. Undefined: not over after `timeout` ms. Below zero: a negated errno. */
export function waitSync(
  addon: NativeFallback,
  file: NativeFile,
  line: NativeFile | undefined,
  shared: boolean,
  timeout: number,
): number | undefined {
  const end = performance.now() + timeout;
  const wait = addon.waitSync(clientOf(addon).id, file, line, shared);
  if (wait < 0) return wait;
  for (let left = timeout; left > 0; left = end - performance.now()) {
    const status = addon.join(wait, Math.min(left, SYNC_SLICE_MS));
    if (status !== undefined) return status;
  }
  addon.cancel(wait);
  return undefined;
}

/** A thread that blocks in `acquireSync` looks up this often, so that a Worker can be terminated. */
const SYNC_SLICE_MS = 50;

/** Set by the build of the command line, whose one file lies in dist/cli. */
declare const FAIRLOCK_CLI: boolean | undefined;

/** The folder of the addon, in the package; undefined where this file was bundled into another program. */
function addonFolder(): string | undefined {
  if (typeof FAIRLOCK_CLI !== 'undefined') return fileURLToPath(new URL('../../native-fallback/', import.meta.url));
  // Never guessed from a bundle's own place: a file planted there would run with this program's rights.
  const root = /^(file:.*\/)(?:src|dist|dist\/cjs)\/native\/addon\.[cm]?[jt]s$/.exec(import.meta.url)?.[1];
  return root === undefined ? undefined : fileURLToPath(new URL('native-fallback/', root));
}

/** glibc's version is in the report where the process runs on glibc; there is none on musl. */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // Its look-ups of names take seconds on some machines.
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  if (before !== undefined) report.excludeNetwork = before;
  return header !== undefined && header.glibcVersionRuntime === undefined;
}

/** Your own build first; of the prebuilt ones the one for this libc. */
function* candidates(folder: string): Generator<string> {
  const name = `${process.platform}-${process.arch}`;
  yield join(folder, 'build', 'Release', 'fairlock.node');
  const [glibc, musl] = [join(folder, 'prebuilds', `${name}.node`), join(folder, 'prebuilds', `${name}-musl.node`)];
  if (existsSync(musl) && (!existsSync(glibc) || isMusl())) yield musl;
  else yield glibc;
}

export const loadNativeFallback = loader('native-fallback', (): NativeFallback => {
  const folder = addonFolder();
  if (folder === undefined) {
    throw new Error(
      `fairlock was bundled into ${import.meta.url}, so its addon cannot be found: mark 'fairlock' as external in your bundler`,
    );
  }
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  for (const file of candidates(folder)) {
    try {
      return require(file) as NativeFallback;
    } catch (error) {
      tried.push(`${file}: ${messageOf(error).split('\n')[0]}`);
    }
  }
  throw new Error(`no binary for ${process.platform}-${process.arch} loads; tried ${tried.join('; ')}`);
});

/** The addon, for what cannot be done without its byte-range locks. @throws {LockUnsupportedError} */
export function needByteRanges(path: string, what: string): NativeFallback {
  const { api: addon, reason } = loadNativeFallback();
  if (addon === undefined)
    throw new LockUnsupportedError(path, `${what} needs the addon native-fallback, which did not load: ${reason}`);
  if (!addon.hasOfd)
    throw new LockUnsupportedError(
      path,
      `${what} needs open-file-description locks, which ${process.platform} does not have`,
    );
  return addon;
}
